"""Saving and loading checkpoints and step results for running attempts, in batches, under their attempt tokens."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from trigger_sdk.values import codec

from apps.checkpoints.errors import CheckpointRefused
from apps.checkpoints.models import KEY_MAX_LENGTH, Kind
from apps.protocol import CHECKPOINTS, CheckpointItem
from apps.storage.statements import statement
from apps.storage.values import ValueRefused, check_value

DATA_MAX_BYTES = codec.MAX_VALUE_BYTES
COUNT_MAX = 10_000
STORED_MAX_BYTES = 256_000_000
"""Limits of contract, section 4; the last one is of all that a run has stored: an attempt restores it."""

DURATION_MAX_SECONDS = 1e9

INLINE_BYTES = 1_000_000
"""Step results that an attempt is given when it starts; it asks for what is beyond them."""

PAGE_BYTES = 4_000_000
"""One answer's worth of what an attempt restores; the last entry may reach beyond it."""

SAVE_CHECKPOINTS = statement(__file__, "save_checkpoints")
LOAD_CHECKPOINTS = statement(__file__, "load_checkpoints")
LOAD_DATA = statement(__file__, "load_data")


@dataclass(frozen=True, slots=True)
class Saved:
    """`verdict` is saved, repeated, conflict, stale, limit or full; `index` the commit order where it is stored."""

    verdict: str
    index: int


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Rows of `load_checkpoints.sql`; `next_after` is the index to go on from, None behind the last page."""

    rows: Sequence[Any]
    next_after: int | None


def content_hash(kind: str, data: bytes, carried: bytes | None, binds: Sequence[str]) -> bytes:
    """What tells a repeated save from a second one under the same key."""
    parts = (kind.encode(), data, carried or b"", json.dumps(list(binds)).encode())
    return hashlib.sha256(b"\x00".join(parts)).digest()


def check(checkpoint: CheckpointItem) -> None:
    """Raises CheckpointRefused where a limit is broken; the task's own codec checks the same with paths."""
    if not 0 < len(checkpoint.key) <= KEY_MAX_LENGTH:
        raise CheckpointRefused(
            f"The key has {len(checkpoint.key)} characters; 1 to {KEY_MAX_LENGTH} are allowed.", "invalid"
        )
    if "\x00" in checkpoint.key:
        raise CheckpointRefused("The key contains NUL.", "invalid")
    if checkpoint.kind not in Kind:
        raise CheckpointRefused(f"The kind {checkpoint.kind!r:.40} is neither checkpoint nor step.", "invalid")
    if checkpoint.codec != codec.VERSION:
        raise CheckpointRefused(f"Version {checkpoint.codec} of the codec is unknown here.", "invalid")
    duration = checkpoint.duration_seconds
    if duration is not None and not 0 <= duration < DURATION_MAX_SECONDS:
        raise CheckpointRefused("The duration is not a number of seconds.", "invalid")
    if (size := CHECKPOINTS.size_of(checkpoint)) > DATA_MAX_BYTES:
        message = f"The checkpoint {checkpoint.key!r} has {size:,} bytes; the limit is {DATA_MAX_BYTES:,}."
        raise CheckpointRefused(message, "too_large")
    for raw in (checkpoint.data, checkpoint.carried):
        if raw is not None:
            _check_data(checkpoint.key, raw)
    if checkpoint.kind == Kind.CHECKPOINT and not (_is_object(checkpoint.data) and _is_object(checkpoint.carried)):
        raise CheckpointRefused(f"The data of {checkpoint.key!r} is no object of names.", "invalid")


def _is_object(raw: bytes | None) -> bool:
    return raw is None or raw.lstrip().startswith(b"{")


def _check_data(key: str, raw: bytes) -> None:
    try:
        check_value(raw)
    except ValueRefused as refused:
        raise CheckpointRefused(f"The data of {key!r} {refused.message}.", refused.code) from None


async def save(
    database: AsyncConnection[Any], checkpoints: Sequence[CheckpointItem], *, waits: bool = False
) -> list[Saved | None]:
    """Commits the checkpoints in one transaction; one verdict per item, None where the item has to be sent again.

    Data and carried are JSON text as the codec of that version wrote it.
    Runs that others hold are such items, unless it `waits` for them.

    A value that Postgres refuses raises psycopg.DataError for the whole batch: the caller retries item by item.
    """
    rows = await SAVE_CHECKPOINTS.run_on(
        database,
        waits=waits,
        run_ids=[item.run_id for item in checkpoints],
        tokens=[item.token for item in checkpoints],
        keys=[item.key for item in checkpoints],
        kinds=[item.kind for item in checkpoints],
        datas=[item.data.decode() for item in checkpoints],
        carrieds=[None if item.carried is None else item.carried.decode() for item in checkpoints],
        binds=[json.dumps(list(item.binds)) for item in checkpoints],
        hashes=[content_hash(item.kind, item.data, item.carried, item.binds) for item in checkpoints],
        sizes=[CHECKPOINTS.size_of(item) for item in checkpoints],
        codecs=[item.codec for item in checkpoints],
        durations=[item.duration_seconds for item in checkpoints],
        count_limit=COUNT_MAX,
        bytes_limit=STORED_MAX_BYTES,
    )
    return [None if row.verdict == "retry" else Saved(row.verdict, row.index or 0) for row in rows]


async def load(
    database: AsyncConnection[Any], *, run_id: UUID, token: bytes, after_index: int = -1
) -> StoredPage | None:
    """A page of what the run has saved, in commit order; None for a stale token: with an empty page its holder would
    begin anew."""
    rows = await LOAD_CHECKPOINTS.run_on(
        database,
        run_id=run_id,
        token=token,
        after_index=after_index,
        inline_bytes=INLINE_BYTES,
        page_bytes=PAGE_BYTES,
    )
    if not rows:
        return None
    found = [row for row in rows if row.key is not None]
    return StoredPage(found, found[-1].index if found and found[-1].has_more else None)


async def load_data(database: AsyncConnection[Any], *, run_id: UUID, token: bytes, index: int) -> list[str | None]:
    """The data of one entry as JSON text, [None] where there is none; [] for a stale token."""
    return [row.data for row in await LOAD_DATA.run_on(database, run_id=run_id, token=token, index=index)]
