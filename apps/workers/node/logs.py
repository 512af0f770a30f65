"""The lines of one attempt on their way to the coordinator: numbered, bounded, sent in batches."""

import asyncio
import json
import math
from datetime import UTC, datetime
from typing import Any

from trigger_sdk.times import TimeRefused, read_time

from apps.workers.protocol import LogBatch, LogItem

from .attempts import Attempt, storable
from .outbox import Sender

FLUSH_SECONDS = 0.1
FLUSH_BYTES = 64 * 1024
LINE_MAX_CHARACTERS = 64 * 1024
WORD_MAX_CHARACTERS = 40
"""Of a level and a source: a line's size counts its message and fields only."""
ATTEMPT_MAX_BYTES = 10_000_000
FIELDS_MAX_DEPTH = 16
ATTEMPT_MAX_LINES = 50_000


class LogBuffer:
    """Keeps what was written until the next flush; beyond the attempt's caps it counts and drops."""

    def __init__(self, attempt: Attempt, sender: Sender[LogBatch]) -> None:
        self._attempt = attempt
        self._sender = sender
        self._lines: list[LogItem] = []
        self._waiting_bytes = 0
        self._line_count = 0
        self._byte_count = 0
        self._cut_lines = 0
        self._cut_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: set[asyncio.Task[None]] = set()

    def add(self, header: dict[str, Any]) -> None:
        """One line as a frame's header carries it."""
        message = storable(header.get("message", ""))[:LINE_MAX_CHARACTERS]
        fields = header.get("fields")
        encoded = None if not fields else json.dumps(_storable_value(fields), ensure_ascii=True).encode()
        size = len(message) + len(encoded or b"")
        if self._line_count >= ATTEMPT_MAX_LINES or self._byte_count + size > ATTEMPT_MAX_BYTES:
            self._cut_lines += 1
            self._cut_bytes += size
            return
        self._byte_count += size
        self._append(
            storable(header.get("level", "info"))[:WORD_MAX_CHARACTERS],
            storable(header.get("source", "log"))[:WORD_MAX_CHARACTERS],
            message,
            encoded,
            header.get("at"),
        )

    async def flush(self) -> None:
        """Sends everything, with a marker that counts what the caps cut; returns when it is stored or refused."""
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
        await self._sender.submit(batch)


def _storable_value(value: Any, depth: int = 1) -> Any:
    """The value as `jsonb` takes it; what it cannot hold becomes text, so that no line is lost for one field."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict | list) and depth > FIELDS_MAX_DEPTH:
        return storable(json.dumps(value))
    if isinstance(value, dict):
        return {storable(name): _storable_value(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_storable_value(item, depth + 1) for item in value]
    return value


def _time_of(at: Any) -> datetime | None:
    """The time that the task's process gave, None for a bad one: a line must not be lost for it."""
    try:
        return read_time(at)
    except TimeRefused:
        return None
