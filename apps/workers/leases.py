"""Renews leases, one batch per worker, and ends those of lost workers. Decides which; `runs.lifecycle` moves them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from django.db import OperationalError, transaction
from psycopg import AsyncConnection

from apps.protocol import LEASE_SECONDS, SUSPECT_SECONDS, Finish, Lease, Registration
from apps.runs.lifecycle import fail_attempts
from apps.runs.states import Outcome
from apps.storage.statements import is_held, statement

PULSE_SILENCE_SECONDS = 15
"""Coordinators stamp the pulse every 5 s; three missed beats mean that the database was away."""

PULSE_GRACE_SECONDS = 60
"""After an outage every worker has one full lease period in which to renew."""

ABSENT_SECONDS = 25
"""A worker keeps a poll open for at most 20 s; one that has been silent longer cannot say what it has started."""

RENEW_LEASES = statement(__file__, "renew_leases")
EXPIRED_LEASES = statement(__file__, "expired_leases")
STAMP_PULSE = statement(__file__, "stamp_pulse")
TOUCH_WORKER = statement(__file__, "touch_worker")
SUSPECT_WORKER = statement(__file__, "suspect_worker")
CLEAR_SUSPICIONS = statement(__file__, "clear_suspicions")
HOLD_LEASES = statement(__file__, "hold_leases")
GRANT_GRACE = statement(__file__, "grant_grace")
REQUESTED_CANCELS = statement(__file__, "requested_cancels")
REGISTER_WORKER = statement(__file__, "register_worker")

logger = logging.getLogger(__name__)

LOST_ERROR = {
    "type": "WorkerLost",
    "message": "The worker went silent or lost its connection; its lease ended.",
    "stack": "",
}


@dataclass(frozen=True, slots=True)
class Contact:
    """`has_changed`: a suspicion ended, or the worker stopped or came back."""

    is_known: bool
    has_changed: bool


async def register(database: AsyncConnection[Any], registration: Registration) -> None:
    """Adds a worker that has just started, or brings back one that registers again."""
    await REGISTER_WORKER.run_on(database, **msgspec.structs.asdict(registration))


async def touch(database: AsyncConnection[Any], *, worker_id: UUID, is_stopping: bool = False) -> Contact:
    """Records a contact, which clears a suspicion; an unknown worker must register again."""
    rows = await TOUCH_WORKER.run_on(database, worker_id=worker_id, is_stopping=is_stopping)
    return Contact(is_known=bool(rows), has_changed=any(row.has_changed for row in rows))


async def suspect(database: AsyncConnection[Any], *, worker_id: UUID) -> None:
    """Marks a worker whose connection broke: its leases end unless it comes back within SUSPECT_SECONDS."""
    await SUSPECT_WORKER.run_on(database, worker_id=worker_id)


async def clear_suspicions(database: AsyncConnection[Any], *, worker_ids: Sequence[UUID]) -> list[UUID]:
    """Clears workers that keep a poll open at a coordinator, whatever happened to their other connections; returns
    those that were suspected."""
    return [row.id for row in await CLEAR_SUSPICIONS.run_on(database, worker_ids=list(worker_ids))]


async def renew(database: AsyncConnection[Any], *, worker_id: UUID, leases: Sequence[Lease]) -> list[Any]:
    """Renews the leases the worker still holds; returns rows of `renew_leases.sql`."""
    return await RENEW_LEASES.run_on(
        database,
        worker_id=worker_id,
        run_ids=[lease.run_id for lease in leases],
        tokens=[lease.token for lease in leases],
        lease_seconds=LEASE_SECONDS,
    )


async def hold(database: AsyncConnection[Any], *, worker_id: UUID) -> bool:
    """Keeps the worker's leases for one lease period although they could not be renewed; False if its own row is held
    too."""
    return bool(await HOLD_LEASES.run_on(database, worker_id=worker_id, lease_seconds=LEASE_SECONDS))


async def grant_grace(database: AsyncConnection[Any]) -> None:
    """Keeps the leases of all workers for one lease period, as after an outage."""
    await GRANT_GRACE.run_on(database)


async def requested_cancels(database: AsyncConnection[Any], *, worker_ids: Sequence[UUID]) -> list[Any]:
    """Finds the running attempts of these workers that must be canceled; rows of `requested_cancels.sql`."""
    return await REQUESTED_CANCELS.run_on(database, worker_ids=list(worker_ids))


def stamp_pulse() -> None:
    STAMP_PULSE.run(silence_seconds=PULSE_SILENCE_SECONDS)


def expire_leases(*, after: UUID | None = None, limit: int = 100) -> list[UUID]:
    """Ends up to `limit` attempts whose lease has expired: `lost` if their code may have run, otherwise `released`.

    Returns the runs' ids in order, including runs that are held elsewhere, which stay as they are. A full page means
    "again, after the last one".
    """
    found: list[Any] = []
    try:
        with transaction.atomic():
            found = _expired(after=after, limit=limit)
            fail_attempts([_end_of(row) for row in found], waits=False)
    except OperationalError as error:
        if not is_held(error) or not found:
            raise
        # Another transaction holds an attempt or a value of one of them: only that one waits.
        for row in found:
            _expire_alone(row)
    return [row.run_id for row in found]


def _expire_alone(row: Any) -> None:
    """Checks again that the lease has ended: its lock was released in between."""
    try:
        with transaction.atomic():
            still = _expired(after=UUID(int=row.run_id.int - 1), limit=1)
            fail_attempts([_end_of(each) for each in still if each.run_id == row.run_id], waits=False)
    except OperationalError as error:
        if not is_held(error):
            raise
        logger.warning("workers.expire run.id=%s: %s", row.run_id, error)


def _expired(*, after: UUID | None, limit: int) -> list[Any]:
    return EXPIRED_LEASES.run(
        limit=limit,
        after=after or UUID(int=0),
        suspect_seconds=SUSPECT_SECONDS,
        grace_seconds=PULSE_GRACE_SECONDS,
        silence_seconds=PULSE_SILENCE_SECONDS,
        absent_seconds=ABSENT_SECONDS,
    )


def _end_of(row: Any) -> Finish:
    if not row.has_begun:
        return Finish(row.run_id, row.token, Outcome.RELEASED)
    return Finish(row.run_id, row.token, Outcome.LOST, error=LOST_ERROR)
