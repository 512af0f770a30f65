"""The keyword `x-text` of payload schemas: asks of a text what the task will make of it, by the same reader.

`texts.TEXT_KINDS` are the readers of the SDK. A name that begins with `pydantic.` belongs to a model, whose texts the
pydantic of this process reads. An unknown name comes from a newer SDK: then only the task's own reader decides.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from uuid import UUID

from pydantic import AnyUrl, AwareDatetime, HttpUrl, NaiveDatetime, TypeAdapter, ValidationError
from trigger_sdk.values.texts import TEXT_KINDS

MARK = "x-text"
MODEL_TEXTS: dict[str, tuple[str, Any]] = {
    "pydantic.datetime": ("a date and time", datetime),
    "pydantic.aware_datetime": ("a date and time with a zone", AwareDatetime),
    "pydantic.naive_datetime": ("a date and time without a zone", NaiveDatetime),
    "pydantic.date": ("a date", date),
    "pydantic.time": ("a time", time),
    "pydantic.timedelta": ("a duration", timedelta),
    "pydantic.uuid": ("a UUID", UUID),
    "pydantic.decimal": ("a decimal number", Decimal),
    "pydantic.url": ("a URL", AnyUrl),
    "pydantic.http_url": ("a URL with http or https", HttpUrl),
}
"""By name: what the text must be, and the type that pydantic reads it as."""


class TextCheck:
    """One place of a schema that has the keyword; the validator calls `validate` with each value there."""

    def __init__(self, _parent: dict[str, Any], name: Any, _path: list[str | int]) -> None:
        self._problem = _problem_finder(name) if isinstance(name, str) else None

    def validate(self, value: Any) -> None:
        if self._problem is not None and isinstance(value, str) and (problem := self._problem(value)) is not None:
            raise ValueError(problem)


@cache
def _problem_finder(name: str) -> Callable[[str], str | None] | None:
    if name in TEXT_KINDS:
        return TEXT_KINDS[name].problem
    word, kind = MODEL_TEXTS.get(name.replace(".strict_", "."), ("", None))
    if kind is None:
        return None
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    is_strict = ".strict_" in name

    def problem(text: str) -> str | None:
        try:
            if is_strict:  # which a text in Python never is, but in JSON it may be
                adapter.validate_json(json.dumps(text), strict=True)
            else:
                adapter.validate_python(text)
        except ValidationError as error:
            return f"must be {word}, not {text!r:.60}: {error.errors()[0]['msg']}"
        return None

    return problem
