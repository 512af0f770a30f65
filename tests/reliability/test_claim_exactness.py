"""Claims are exact: never above the limit, no run twice, in order; whatever plan the planner takes.

`TRIGGER_TEST_CLAIM_ROWS=100000` for the size of a release.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import psycopg
import pytest
from django.db import connection

from apps.queues.claim.claimer import Claimer
from tests.factories import make_task

ROW_COUNT = int(os.environ.get("TRIGGER_TEST_CLAIM_ROWS", "20000"))
CLAIMER_COUNT = 8
LIMIT = 50

PLANS = {
    "as chosen": (),
    "nested loops": ("enable_hashjoin = off", "enable_mergejoin = off"),
    "no index": ("enable_indexscan = off", "enable_bitmapscan = off", "enable_indexonlyscan = off"),
    "no nested loops": ("enable_nestloop = off", "enable_seqscan = off"),
}

claimers: WeakKeyDictionary[psycopg.AsyncConnection[Any], Claimer] = WeakKeyDictionary()

Claimed = list[tuple[int, UUID]]
Claim = Callable[[psycopg.AsyncConnection[Any], int], Awaitable[Claimed]]


@dataclass
class Verdict:
    """What was wrong with a series of claims; the checker knows nothing of how they were made."""

    claimed: list[UUID] = field(default_factory=list)
    over_limit: list[int] = field(default_factory=list)
    out_of_order: int = 0

    def take(self, batch: Claimed, limit: int) -> None:
        if len(batch) > limit:
            self.over_limit.append(len(batch))
        self.out_of_order += sum((-first[0], first[1]) > (-second[0], second[1]) for first, second in pairwise(batch))
        self.claimed += [run_id for _, run_id in batch]

    @property
    def double_count(self) -> int:
        return len(self.claimed) - len(set(self.claimed))


def fill(*, pending_count: int, final_count: int = 0, retrying_count: int = 0) -> None:
    task = make_task()
    with connection.cursor() as cursor:
        for count, state, due, finished in (
            (pending_count, "pending", "NULL", "NULL"),
            (retrying_count, "retrying", "now() - interval '1 minute'", "NULL"),
            (final_count, "completed", "NULL", "now()"),
        ):
            cursor.execute(
                f"""
                INSERT INTO runs_run (id, task_id, state, queue, priority, concurrency_key, max_attempts, attempt_count,
                    progress_attempt, budget_base, is_cancel_requested, has_run_out_of_memory, replay_from, version,
                    tags, idempotency_key, due_at, finished_at)
                SELECT gen_random_uuid(), %s, %s, 'q', (random() * 4)::int - 2, '', 3, 0, 0, 0, false, false, '', 0,
                       '{{}}', '', {due}, {finished}
                FROM generate_series(1, %s)
                """,
                [task.id, state, count],
            )
        cursor.execute(
            "INSERT INTO runs_value (run_id, payload, traceparent, note) SELECT id, '{}', '', '' FROM runs_run"
        )
        for table in ("runs_run", "runs_value", "runs_task", "runs_attempt"):
            cursor.execute(f"ANALYZE {table}")


async def claim_safely(database: psycopg.AsyncConnection[Any], limit: int) -> Claimed:
    """With a memory of lanes per connection, as each coordinator has one."""
    claimer = claimers.setdefault(database, Claimer())
    while True:
        claimed = await claimer.claim(database, worker_id=uuid4(), poll_id=uuid4(), limit=limit, confirm_seconds=10)
        if claimed.rows or claimed.again_in_seconds is None:
            return [(row.priority, row.run_id) for row in claimed.rows]
        await asyncio.sleep(claimed.again_in_seconds)


async def claim_unsafely(database: psycopg.AsyncConnection[Any], limit: int) -> Claimed:
    """The form in which the planner may carry out the sub-select once per row."""
    cursor = await database.execute(
        """
        UPDATE runs_run SET state = 'running', token = '\\x00', worker_id = gen_random_uuid(), lease_end = now()
        WHERE id IN (SELECT id FROM runs_run WHERE state = 'pending' LIMIT %s FOR UPDATE SKIP LOCKED)
        RETURNING priority, id
        """,
        (limit,),
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


def claim_all(url: str, claim: Claim, settings: tuple[str, ...]) -> Verdict:
    """Claims with many connections at once until nothing is pending."""
    verdict = Verdict()

    async def work() -> None:
        database = await psycopg.AsyncConnection.connect(url, autocommit=True)
        async with database:
            for setting in settings:
                await database.execute(f"SET {setting}")
            while batch := await claim(database, LIMIT):
                verdict.take(batch, LIMIT)

    async def work_together() -> None:
        await asyncio.gather(*[work() for _ in range(CLAIMER_COUNT)])

    asyncio.run(work_together())
    return verdict


@pytest.mark.parametrize("plan", PLANS)
def test_claims_are_exact_under_every_plan(committed: str, plan: str) -> None:
    # The other plans cost more per claim and prove the same, so they get a part of the rows.
    row_count = ROW_COUNT if plan == "as chosen" else ROW_COUNT // 10
    fill(pending_count=row_count)

    verdict = claim_all(committed, claim_safely, PLANS[plan])

    print(f"{plan}: {len(verdict.claimed):,} runs claimed by {CLAIMER_COUNT} sessions")
    assert (verdict.over_limit, verdict.double_count, verdict.out_of_order) == ([], 0, 0)
    assert len(verdict.claimed) == row_count


def test_unsafe_form_is_caught_by_the_same_checker(committed: str) -> None:
    fill(pending_count=500)

    verdict = claim_all(
        committed,
        claim_unsafely,
        ("enable_hashjoin = off", "enable_mergejoin = off", "enable_hashagg = off", "enable_sort = off",
         "enable_material = off", "enable_memoize = off"),
    )  # fmt: skip

    print(f"the unsafe form claimed {max(verdict.over_limit, default=0)} runs for a limit of {LIMIT}")
    assert verdict.over_limit


def test_claim_takes_the_highest_priority_first_then_the_oldest(committed: str) -> None:
    fill(pending_count=300)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM runs_run ORDER BY priority DESC, id")
        expected = [row[0] for row in cursor.fetchall()]

    async def claim_one_after_the_other() -> list[UUID]:
        async with await psycopg.AsyncConnection.connect(committed, autocommit=True) as database:
            batches = [await claim_safely(database, 7) for _ in range(50)]
        return [run_id for batch in batches for _, run_id in batch]

    assert asyncio.run(claim_one_after_the_other()) == expected
