"""Sends the log lines of one attempt to the coordinator: numbered, bounded, in batches."""

import asyncio
import json
import math
from datetime import UTC, datetime
from typing import Any

from trigger_sdk.times import TimeRefused, read_time

from apps.protocol import LOGS, LogBatch, LogItem
from apps.workers.node.attempts.attempt import Attempt, storable
from apps.workers.node.outbox import Outbox

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
LINE_MAX_CHARACTERS = 64 * 1024
CUT_NOTE_CHARACTERS = 40
WORD_MAX_CHARACTERS = 40
"""For level and source: a line's size counts only its message and fields."""
ATTEMPT_MAX_BYTES = 10_000_000
FIELDS_MAX_DEPTH = 16
FIELDS_MAX_BYTES = 2 * 64 * 1024
FIELDS_MAX_ITEMS = 40_000
COUNT_MAX = 2**53
ATTEMPT_MAX_LINES = 50_000


class LogBuffer:
    """Buffers lines until the next flush; beyond the attempt's caps it counts and drops them."""

    def __init__(self, attempt: Attempt, outbox: Outbox) -> None:
        self._attempt = attempt
        self._outbox = outbox
        self._lines: list[LogItem] = []
        self._waiting_bytes = 0
        self._line_count = 0
        self._byte_count = 0
        self._cut_lines = 0
        self._cut_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()

    def add(self, header: dict[str, Any]) -> None:
        """Adds one line as a frame's header carries it, or the count of lines that the writer itself dropped."""
        if (dropped := header.get("dropped_lines")) is not None:
            self._count_cut(_count(dropped), _count(header.get("dropped_bytes")))
            return
        message = _message(header.get("message", ""))
        if self._line_count >= ATTEMPT_MAX_LINES:  # do not parse fields that are dropped anyway
            self._count_cut(1, len(message))
            return
        fields = _encoded_fields(header.get("fields"))
        size = len(message) + len(fields or b"")
        if self._byte_count + size > ATTEMPT_MAX_BYTES:
            self._count_cut(1, size)
            return
        self._byte_count += size
        self._append(
            storable(header.get("level", "info"))[:WORD_MAX_CHARACTERS],
            storable(header.get("source", "log"))[:WORD_MAX_CHARACTERS],
            message,
            fields,
            header.get("at"),
        )

    def _count_cut(self, lines: int, size: int) -> None:
        self._cut_lines += lines
        self._cut_bytes += size

    async def flush(self) -> None:
        """Sends everything, with a marker counting what the caps cut; returns when all is stored or refused."""
        if self._cut_lines:
            text = f"The log was cut here: {self._cut_lines:,} lines with {self._cut_bytes:,} characters were dropped."
            self._cut_lines = 0
            self._append("warning", "system", text, None, None)
        self._send()
        while self._flushing:
            await asyncio.wait(self._flushing)

    def _append(self, level: str, source: str, message: str, fields: bytes | None, at: Any) -> None:
        self._line_count += 1
        logged_at = (_time_of(at) or datetime.now(UTC)).isoformat()
        self._lines.append(LogItem(level, source, message, logged_at, self._line_count, fields))
        self._waiting_bytes += len(message) + len(fields or b"")
        if self._waiting_bytes >= FLUSH_BYTES:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._send)

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._lines:
            return
        lines, self._lines, self._waiting_bytes = self._lines, [], 0
        claim = self._attempt.claim
        task = asyncio.create_task(self._deliver(LogBatch(claim.run_id, claim.token, claim.attempt, lines)))
        self._flushing.add(task)
        task.add_done_callback(self._flushing.discard)

    async def _deliver(self, batch: LogBatch) -> None:
        await self._outbox.submit(LOGS, batch)


def _message(value: Any) -> str:
    text = storable(value)
    if len(text) <= LINE_MAX_CHARACTERS:
        return text
    kept = LINE_MAX_CHARACTERS - CUT_NOTE_CHARACTERS  # with the note, the line is exactly at the limit
    return f"{text[:kept]} … [{len(text) - kept:,} characters cut]"


def _encoded_fields(fields: Any) -> bytes | None:
    """Encodes the fields for `jsonb`; None if there are none. Fields over the limit are replaced by a note."""
    if not fields:
        return None
    walk = _Walk()
    value = walk.storable(fields)
    encoded = b"" if walk.is_over else json.dumps(value, ensure_ascii=True).encode()
    if walk.is_over or len(encoded) > FIELDS_MAX_BYTES:
        return json.dumps({"cut": "the fields of this line are over the limit"}).encode()
    return encoded


class _Walk:
    """Makes values storable; stops beyond the item count of any honest line, since each item costs loop time."""

    def __init__(self) -> None:
        self._left = FIELDS_MAX_ITEMS

    @property
    def is_over(self) -> bool:
        return self._left < 0

    def storable(self, value: Any, depth: int = 1) -> Any:
        """Converts a value for `jsonb`; what it cannot hold becomes text, so that no line is lost over one field."""
        self._left -= 1
        if self.is_over:
            return None
        if isinstance(value, str):
            return storable(value)
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)
        if isinstance(value, dict | list) and depth > FIELDS_MAX_DEPTH:
            return storable(json.dumps(value))
        if isinstance(value, dict):
            return {storable(name): self.storable(item, depth + 1) for name, item in value.items()}
        if isinstance(value, list):
            return [self.storable(item, depth + 1) for item in value]
        return value


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < COUNT_MAX else 0


def _time_of(at: Any) -> datetime | None:
    """Parses the time given by the task's process; None if it is bad: no line may be lost over it."""
    try:
        return read_time(at)
    except TimeRefused:
        return None
