"""Leases: renewed in one batch per worker, ended when a worker is gone. Decides who; `runs.lifecycle` moves."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from psycopg import AsyncConnection

from apps.runs.lifecycle import AttemptEnd, fail_attempts
from apps.runs.statements import statement
from apps.runs.states import Outcome
from apps.workers.protocol import LEASE_SECONDS, SUSPECT_SECONDS, Lease, Registration

PULSE_SILENCE_SECONDS = 15
"""Coordinators stamp the pulse every 5 s; three missed ones mean that the database was away."""

PULSE_GRACE_SECONDS = 60
"""After an outage every worker gets one whole lease to renew in."""

RENEW_LEASES = statement(__file__, "renew_leases")
EXPIRED_LEASES = statement(__file__, "expired_leases")
STAMP_PULSE = statement(__file__, "stamp_pulse")
TOUCH_WORKER = statement(__file__, "touch_worker")
SUSPECT_WORKER = statement(__file__, "suspect_worker")
CLEAR_SUSPICIONS = statement(__file__, "clear_suspicions")
REQUESTED_CANCELS = statement(__file__, "requested_cancels")
REGISTER_WORKER = statement(__file__, "register_worker")

LOST_ERROR = {
    "type": "WorkerLost",
    "message": "The worker went silent or lost its connection; its lease ended.",
    "stack": "",
}


async def register(database: AsyncConnection[Any], registration: Registration) -> None:
    """Adds a worker that has just started, or brings back one that registers again."""
    await REGISTER_WORKER.run_on(database, **msgspec.structs.asdict(registration))


async def touch(database: AsyncConnection[Any], *, worker_id: UUID, is_stopping: bool = False) -> bool:
    """Any contact clears a suspicion; False where the worker is unknown and has to register again."""
    return bool(await TOUCH_WORKER.run_on(database, worker_id=worker_id, is_stopping=is_stopping))


async def suspect(database: AsyncConnection[Any], *, worker_id: UUID) -> None:
    """The worker's connection broke: its leases end unless it comes back within SUSPECT_SECONDS."""
    await SUSPECT_WORKER.run_on(database, worker_id=worker_id)


async def clear_suspicions(database: AsyncConnection[Any], *, worker_ids: Sequence[UUID]) -> None:
    """These workers keep a poll open at a coordinator, whatever became of their other connections."""
    await CLEAR_SUSPICIONS.run_on(database, worker_ids=list(worker_ids))


async def renew(database: AsyncConnection[Any], *, worker_id: UUID, leases: Sequence[Lease]) -> list[Any]:
    """Renews what is still the worker's; rows of `renew_leases.sql`."""
    return await RENEW_LEASES.run_on(
        database,
        worker_id=worker_id,
        run_ids=[lease.run_id for lease in leases],
        tokens=[lease.token for lease in leases],
        lease_seconds=LEASE_SECONDS,
    )


async def requested_cancels(database: AsyncConnection[Any], *, worker_ids: Sequence[UUID]) -> list[Any]:
    """The running attempts of these workers that are to be canceled; rows of `requested_cancels.sql`."""
    return await REQUESTED_CANCELS.run_on(database, worker_ids=list(worker_ids))


def stamp_pulse() -> None:
    STAMP_PULSE.run(silence_seconds=PULSE_SILENCE_SECONDS)


def expire_leases(*, after: UUID | None = None, limit: int = 100) -> list[UUID]:
    """Ends up to `limit` attempts whose lease has ended; a claim that was never confirmed is `released`, else `lost`.

    Returns the runs' ids in order; a full page means "again, after the last".
    """
    with transaction.atomic():
        rows = EXPIRED_LEASES.run(
            limit=limit,
            after=after or UUID(int=0),
            suspect_seconds=SUSPECT_SECONDS,
            grace_seconds=PULSE_GRACE_SECONDS,
            silence_seconds=PULSE_SILENCE_SECONDS,
        )
        fail_attempts([_end_of(row) for row in rows])
    return [row.run_id for row in rows]


def _end_of(row: Any) -> AttemptEnd:
    if not row.is_confirmed:
        return AttemptEnd(row.run_id, row.token, Outcome.RELEASED)
    return AttemptEnd(row.run_id, row.token, Outcome.LOST, error=LOST_ERROR)
