"""Storing what tasks write: log lines in batches, each under its attempt token; errors made safe to store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from trigger_sdk.times import TimeRefused, read_time

from apps.storage.ids import uuid7
from apps.storage.statements import statement

TEXT_MAX_CHARACTERS = 64 * 1024
LEVELS = ("debug", "info", "warning", "error")
SOURCES = ("log", "stdout", "stderr", "system")

SAVE_LOG_LINES = statement(__file__, "save_log_lines")


@dataclass(frozen=True, slots=True)
class NewLogLine:
    run_id: UUID
    token: bytes
    attempt: int
    sequence: int
    level: str
    source: str
    message: str
    fields: str | None
    logged_at: str


async def save(database: AsyncConnection[Any], lines: Sequence[NewLogLine]) -> set[int]:
    """Commits the lines; returns the positions (from 0) of those whose token was refused. Repeats change nothing."""
    rows = await SAVE_LOG_LINES.run_on(
        database,
        ids=[uuid7() for _ in lines],
        run_ids=[line.run_id for line in lines],
        tokens=[line.token for line in lines],
        attempts=[line.attempt for line in lines],
        sequences=[line.sequence for line in lines],
        levels=[line.level if line.level in LEVELS else "info" for line in lines],
        sources=[line.source if line.source in SOURCES else "log" for line in lines],
        messages=[_storable(line.message) for line in lines],
        fields=[line.fields for line in lines],
        logged_ats=[_storable_time(line.logged_at) for line in lines],
    )
    return {row.ord - 1 for row in rows}


def _storable_time(text: str) -> datetime:
    """When the line was written, or now where that is no time that can be stored: a line must not be lost for it."""
    try:
        return read_time(text)
    except TimeRefused:
        return datetime.now(UTC)


def storable_error(error: Mapping[str, Any]) -> dict[str, str]:
    """An attempt's error with the three fields that a run shows, safe to store."""
    return {name: _storable(str(error.get(name, ""))) for name in ("type", "message", "stack")}


def _storable(text: str) -> str:
    """Postgres refuses NUL and lone surrogates, and neither a log line nor an error must be lost for one."""
    clean = text[:TEXT_MAX_CHARACTERS].replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return clean.encode("utf-8", "replace").decode()
