"""Storing what tasks write: log lines in batches, each under its attempt token; errors made safe to store."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from trigger_sdk.times import TimeRefused, read_time

from apps.protocol import LogBatch
from apps.storage.ids import uuid7
from apps.storage.statements import statement
from apps.storage.values import storable_fields

TEXT_MAX_CHARACTERS = 64 * 1024
LEVELS = ("debug", "info", "warning", "error")
SOURCES = ("log", "stdout", "stderr", "system")

SAVE_LOG_LINES = statement(__file__, "save_log_lines")


async def save(database: AsyncConnection[Any], batches: Sequence[LogBatch]) -> set[bytes]:
    """Commits the lines; returns the tokens that were refused. Repeats change nothing."""
    lines = [(batch, line) for batch in batches for line in batch.lines]
    rows = await SAVE_LOG_LINES.run_on(
        database,
        ids=[uuid7() for _ in lines],
        run_ids=[batch.run_id for batch, _ in lines],
        tokens=[batch.token for batch, _ in lines],
        attempts=[batch.attempt for batch, _ in lines],
        sequences=[line.sequence for _, line in lines],
        levels=[line.level if line.level in LEVELS else "info" for _, line in lines],
        sources=[line.source if line.source in SOURCES else "log" for _, line in lines],
        messages=[_storable(line.message) for _, line in lines],
        fields=[storable_fields(line.fields) for _, line in lines],
        logged_ats=[_storable_time(line.at) for _, line in lines],
    )
    return {lines[row.ord - 1][0].token for row in rows}


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
