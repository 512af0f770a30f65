"""Claiming: due runs become pending, pending runs are leased to one worker. Ends nobody's lease (see `workers.leases`).

The only caller in production is a coordinator, on a connection of its own pool.
"""

from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

from apps.runs.statements import statement

PROMOTE_LIMIT = 1000

LOCK_CLAIMS = statement(__file__, "lock_claims")
PROMOTE_DUE = statement(__file__, "promote_due")
CLAIM_RUNS = statement(__file__, "claim_runs")
REPEAT_CLAIMS = statement(__file__, "repeat_claims")


async def promote_due(database: AsyncConnection[Any], *, limit: int = PROMOTE_LIMIT) -> list[UUID]:
    """Makes runs pending whose due time has come; returns their ids."""
    return [row.id for row in await PROMOTE_DUE.run_on(database, limit=limit)]


async def claim(
    database: AsyncConnection[Any], *, worker_id: UUID, poll_id: UUID, limit: int, confirm_seconds: int
) -> list[Any]:
    """Leases up to `limit` pending runs to the worker and opens their attempts; the rows of `claim_runs.sql`.

    Two statements in one READ COMMITTED transaction: the second one's snapshot starts after the lane is held. They are
    sent in one pipeline, so the lane is held for no round trip of the network.
    """
    async with database.pipeline(), database.transaction(), database.cursor(row_factory=namedtuple_row) as cursor:
        await database.execute(LOCK_CLAIMS.text)
        parameters = {
            "worker_id": worker_id, "poll_id": poll_id, "limit": limit, "confirm_seconds": confirm_seconds
        }  # fmt: skip
        await cursor.execute(CLAIM_RUNS.text, parameters)
        return await cursor.fetchall()


async def repeat(database: AsyncConnection[Any], *, worker_id: UUID, poll_id: UUID, confirm_seconds: int) -> list[Any]:
    """The live claims that this poll was already answered with, by any coordinator; their leases begin anew."""
    async with database.transaction():
        return await REPEAT_CLAIMS.run_on(
            database, worker_id=worker_id, poll_id=poll_id, confirm_seconds=confirm_seconds
        )
