"""Saving and loading checkpoints for running attempts, in batches, under their attempt tokens."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from trigger_sdk import codec

from apps.checkpoints.errors import CheckpointRefused
from apps.checkpoints.models import KEY_MAX_LENGTH
from apps.runs.statements import statement

DATA_MAX_BYTES = codec.MAX_VALUE_BYTES
DEPTH_MAX = codec.MAX_DEPTH
COUNT_MAX = 10_000
"""Limits of contract, section 4."""

SAVE_CHECKPOINTS = statement(__file__, "save_checkpoints")
LOAD_CHECKPOINTS = statement(__file__, "load_checkpoints")

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A checkpoint on its way in; data and carried are JSON text as the codec wrote it."""

    run_id: UUID
    token: bytes
    key: str
    data: bytes
    binds: Sequence[str]
    carried: bytes | None

    @property
    def size_bytes(self) -> int:
        return len(self.data) + len(self.carried or b"")

    @property
    def content_hash(self) -> bytes:
        parts = (self.data, self.carried or b"", json.dumps(list(self.binds)).encode())
        return hashlib.sha256(b"\x00".join(parts)).digest()


@dataclass(frozen=True, slots=True)
class Saved:
    """`verdict` is saved, repeated, conflict, stale or limit; `index` the commit order where it is stored."""

    verdict: str
    index: int


def check(checkpoint: NewCheckpoint) -> None:
    """Raises CheckpointRefused where a limit is broken; the task's own codec checks the same with paths."""
    if not 0 < len(checkpoint.key) <= KEY_MAX_LENGTH:
        raise CheckpointRefused(
            f"The key has {len(checkpoint.key)} characters; 1 to {KEY_MAX_LENGTH} are allowed.", "invalid"
        )
    if "\x00" in checkpoint.key:
        raise CheckpointRefused("The key contains NUL.", "invalid")
    if checkpoint.size_bytes > DATA_MAX_BYTES:
        message = (
            f"The checkpoint {checkpoint.key!r} has {checkpoint.size_bytes:,} bytes; the limit is {DATA_MAX_BYTES:,}."
        )
        raise CheckpointRefused(message, "too_large")
    for raw in filter(None, (checkpoint.data, checkpoint.carried)):
        if _depth_exceeds(raw, DEPTH_MAX):
            raise CheckpointRefused(f"The data of {checkpoint.key!r} is nested deeper than {DEPTH_MAX}.", "invalid")
        if _NUL_ESCAPE.search(raw):
            raise CheckpointRefused(f"The data of {checkpoint.key!r} contains NUL.", "invalid")


def _depth_exceeds(raw: bytes, limit: int) -> bool:
    # Without that many brackets it cannot be that deep, and most data has few.
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    depth = 0
    for bracket in _STRING.sub(b"", raw).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in b"[{" else -1
        if depth > limit:
            return True
    return False


async def save(database: AsyncConnection[Any], checkpoints: Sequence[NewCheckpoint]) -> list[Saved | None]:
    """Commits the checkpoints in one transaction; one verdict per item, None where the item has to be sent again.

    A value that Postgres refuses raises psycopg.DataError for the whole batch: the caller retries item by item.
    """
    rows = await SAVE_CHECKPOINTS.run_on(
        database,
        run_ids=[item.run_id for item in checkpoints],
        tokens=[item.token for item in checkpoints],
        keys=[item.key for item in checkpoints],
        datas=[item.data.decode() for item in checkpoints],
        carrieds=[None if item.carried is None else item.carried.decode() for item in checkpoints],
        binds=[json.dumps(list(item.binds)) for item in checkpoints],
        hashes=[item.content_hash for item in checkpoints],
        sizes=[item.size_bytes for item in checkpoints],
        count_limit=COUNT_MAX,
    )
    return [None if row.verdict == "retry" else Saved(row.verdict, row.index or 0) for row in rows]


async def load(database: AsyncConnection[Any], *, run_id: UUID, token: bytes) -> list[Any] | None:
    """The run's checkpoints in commit order; None for a stale token: with an empty list its holder would begin anew."""
    rows = await LOAD_CHECKPOINTS.run_on(database, run_id=run_id, token=token)
    return [row for row in rows if row.key is not None] if rows else None
