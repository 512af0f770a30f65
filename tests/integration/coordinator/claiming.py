"""The real claim, one at a time, for tests that look at what it takes and leaves."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import psycopg

from apps.queues.claim.claimer import Claimed, Claimer
from apps.runs.models import Run


def claim_once(url: str, limit: int = 100, claimer: Claimer | None = None) -> Claimed:
    """As a coordinator that has just started, unless a claimer is given."""

    async def claim() -> Claimed:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
            return await (claimer or Claimer()).claim(
                database, worker_id=uuid4(), poll_id=uuid4(), limit=limit, confirm_seconds=10
            )

    return asyncio.run(claim())


def claimed_ids(url: str, limit: int = 100) -> list[UUID]:
    return [row.run_id for row in claim_once(url, limit).rows]


def tasks_of(claimed: Claimed) -> list[str]:
    return [row.task_id for row in claimed.rows]


def keys_of(claimed: Claimed) -> list[str]:
    return [row.concurrency_key for row in claimed.rows]


def complete(*rows: Any) -> None:
    """Ends claimed runs without a coordinator."""
    for row in rows:
        Run.objects.filter(id=row.run_id).update(
            state="completed", token=None, worker_id=None, lease_end=None, finished_at="2026-01-01T00:00:00Z"
        )
