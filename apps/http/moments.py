"""Times in queries and bodies of the API, read by the one reader of times."""

from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from trigger_sdk.times import TimeRefused, check_time, read_time


def _moment(value: object) -> datetime:
    try:
        return check_time(value) if isinstance(value, datetime) else read_time(value)
    except TimeRefused as refused:
        raise PydanticCustomError("time", "{reason}", {"reason": str(refused)}) from None


Moment = Annotated[datetime, BeforeValidator(_moment)]
"""A field of a query or a body; in strict models too, where a text would not be taken for a time."""
