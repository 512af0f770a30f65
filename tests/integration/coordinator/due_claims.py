"""The real claim on the test's own database, after what is due was promoted, as a coordinator's round goes."""

import asyncio
from typing import Any
from uuid import UUID

import psycopg

from apps.queues.claim.claimer import promote_due
from tests.coordinator_harness import connection_url
from tests.integration.coordinator.claiming import claim_once


def claim_rows(limit: int) -> list[Any]:
    """What a worker with so many free slots gets, in the order of the claim."""
    url = connection_url()

    async def promote() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
            await promote_due(database)

    asyncio.run(promote())
    return list(claim_once(url, limit).rows) if limit else []


def claimed(limit: int) -> list[UUID]:
    return [row.run_id for row in claim_rows(limit)]
