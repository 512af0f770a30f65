"""A log line as the HTTP API shows it."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.http.answers import json_field, timestamp
from apps.http.schemas import Strict
from apps.runs.models import LogLine


class LogLineOut(Strict):
    attempt: int
    sequence: int
    level: str
    source: str
    message: str
    fields: dict[str, Any] | None
    logged_at: datetime


class LogPage(Strict):
    items: list[LogLineOut]
    next_cursor: Annotated[
        str | None, Field(description="The place after the last line: send it as `after`, again and again to follow.")
    ]


def log_row(line: LogLine) -> dict[str, Any]:
    return {
        "attempt": line.attempt,
        "sequence": line.sequence,
        "level": line.level,
        "source": line.source,
        "message": line.message,
        "fields": json_field(line.fields),
        "logged_at": timestamp(line.logged_at),
    }
