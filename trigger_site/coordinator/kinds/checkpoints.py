"""Writes checkpoints and step results of many runs in one transaction."""

from collections.abc import Sequence

from apps.checkpoints import store
from apps.checkpoints.errors import CheckpointRefused
from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.protocol import CHECKPOINTS, CheckpointItem, Result
from trigger_site.coordinator.database import Connection
from trigger_site.coordinator.kinds.base import STALE, Kind

REFUSALS = {
    "stale": STALE,
    "conflict": Result(409, "conflict", "The key was already saved with different data."),
    "limit": Result(422, "limit", f"A run may have at most {store.COUNT_MAX:,} checkpoints and steps."),
    "full": Result(
        422,
        "limit",
        f"This would take the run's stored data over {store.STORED_MAX_BYTES:,} bytes: keep large data in a store "
        "of your own, and save its address.",
    ),
}


def refuse_over_limits(item: CheckpointItem) -> Result | None:
    try:
        store.check(item)
    except CheckpointRefused as error:
        return Result(413 if error.code == "too_large" else 422, error.code, error.detail)
    return None


async def write_checkpoints(
    connection: Connection, items: Sequence[CheckpointItem], *, waits: bool
) -> list[Result | None]:
    verdicts = await store.save(connection, items, waits=waits)
    announce_now(RUNS, {item.run_id for item in items})
    return [
        None if saved is None else REFUSALS.get(saved.verdict) or Result(200, index=saved.index) for saved in verdicts
    ]


CHECKPOINT = Kind(CHECKPOINTS, write_checkpoints, refuse_over_limits)
