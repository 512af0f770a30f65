"""Nine tenants share a queue by their concurrency keys, and one floods it: the others are served alike and soon.

Claims are the real ones; work is time that passes. Phases with and without the flood follow each other in turns, so
noise hits both alike.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from statistics import quantiles
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection, connections

from apps.queues.claim.claimer import Claimer
from apps.runs.lifecycle import trigger
from tests.reliability.limit_site import CONFIRM_SECONDS, add_runs, complete, make_tasks

SEED = int(os.environ.get("TRIGGER_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
TENANTS = [f"tenant-{number}" for number in range(8)]
FLOODER = "flooder"
SLOT_COUNT = 16
WORK_SECONDS = 0.05
PHASE_SECONDS = 20.0
PHASE_COUNT = 6
"""Every second one with a flood of FLOOD_COUNT runs, which outlasts it."""

FLOOD_COUNT = 20_000
PAUSE_SECONDS = 0.2
"""Between the runs of one tenant: all of the others together ask for an eighth of what the slots can do."""

LEAST_INDEX = 0.999
MOST_SLOWDOWN = 2.0


def jain_index(shares: Sequence[float]) -> float:
    """1 where all are equal, 1/n where one has all (Jain, Chiu and Hawe 1984)."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def clear() -> None:
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE runs_run, runs_attempt, runs_value CASCADE")


async def claim_all_day(url: str, until: float) -> None:
    """One worker: free slots are claimed for, a slot is busy for WORK_SECONDS, ends are told in batches."""
    claimer, busy = Claimer(), dict[Any, float]()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as database:
        while time.monotonic() < until:
            done = [row for row, ends_at in busy.items() if ends_at <= time.monotonic()]
            if done:
                await complete(database, done)
                for row in done:
                    del busy[row]
            free = SLOT_COUNT - len(busy)
            if free:
                claimed = await claimer.claim(
                    database, worker_id=uuid4(), poll_id=uuid4(), limit=free, confirm_seconds=CONFIRM_SECONDS
                )
                busy |= {row: time.monotonic() + WORK_SECONDS for row in claimed.rows}
            await asyncio.sleep(0.001)


def trigger_evenly(until: float) -> None:
    """In a thread of its own: each tenant's runs at pauses that differ by chance, equally many for all."""
    dice = random.Random(SEED)
    next_at = {tenant: time.monotonic() + dice.uniform(0, PAUSE_SECONDS) for tenant in TENANTS}
    try:
        while (at := min(next_at.values())) < until:
            tenant = min(next_at, key=lambda each: next_at[each])
            next_at[tenant] = at + dice.uniform(0.5, 1.5) * PAUSE_SECONDS
            time.sleep(max(0.0, at - time.monotonic()))
            trigger("serve", {}, concurrency_key=tenant)
    finally:
        connections.close_all()


def waits_in_a_phase(url: str, *, has_flood: bool) -> list[float]:
    """Seconds from trigger to claim of the other tenants' runs."""
    clear()
    if has_flood:
        add_runs("serve", FLOOD_COUNT, keys=[FLOODER])
    until = time.monotonic() + PHASE_SECONDS

    async def play() -> None:
        await asyncio.gather(claim_all_day(url, until + 1.0), asyncio.to_thread(trigger_evenly, until))

    asyncio.run(play())
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM a.claimed_at - r.created_at)::float8 FROM runs_run r "
            "LEFT JOIN runs_attempt a ON a.run_id = r.id WHERE r.concurrency_key <> %s",
            [FLOODER],
        )
        waits = [row[0] for row in cursor.fetchall()]
    assert None not in waits, "a run of another tenant was never claimed"
    return waits


@pytest.mark.long
def test_flood_of_one_tenant_hardly_delays_the_others(committed: str) -> None:
    make_tasks({"serve": {}})
    waits: dict[bool, list[float]] = {False: [], True: []}
    for number in range(PHASE_COUNT):
        waits[number % 2 == 1] += waits_in_a_phase(committed, has_flood=number % 2 == 1)

    p99 = {has_flood: quantiles(each, n=100)[98] for has_flood, each in waits.items()}
    print(
        f"\nseed {SEED}: waits of eight tenants, p99: {p99[False] * 1000:.1f} ms alone ({len(waits[False]):,} runs), "
        f"{p99[True] * 1000:.1f} ms beside a flood ({len(waits[True]):,} runs): {p99[True] / p99[False]:.2f} times"
    )
    assert p99[True] <= MOST_SLOWDOWN * p99[False]


@pytest.mark.parametrize("claim_count", [pytest.param(90, id="sample"), pytest.param(900, marks=pytest.mark.long)])
def test_tenants_with_equal_load_get_equal_shares_beside_a_flood(committed: str, claim_count: int) -> None:
    dice = random.Random(SEED)
    make_tasks({"serve": {}})
    backlog = claim_count
    add_runs("serve", FLOOD_COUNT // 10, keys=[FLOODER])
    add_runs("serve", backlog * len(TENANTS), keys=TENANTS)

    async def claim_by_three() -> Counter[str]:
        """Coordinators that remember different turns."""
        served: Counter[str] = Counter()
        claimers = [Claimer() for _ in range(3)]
        async with await psycopg.AsyncConnection.connect(committed, autocommit=True) as database:
            for _ in range(claim_count):
                claimed = await dice.choice(claimers).claim(
                    database, worker_id=uuid4(), poll_id=uuid4(), limit=dice.randint(1, 8),
                    confirm_seconds=CONFIRM_SECONDS,
                )  # fmt: skip
                served.update(row.concurrency_key for row in claimed.rows)
                await complete(database, claimed.rows)
        return served

    served = asyncio.run(claim_by_three())

    others = [served[tenant] for tenant in TENANTS]
    index = jain_index(others)
    print(f"\nseed {SEED}: served {others} and {served[FLOODER]} of the flood: Jain's index {index:.5f}")
    assert max(others) < backlog, "a backlog that ran out says nothing of shares"
    assert index >= LEAST_INDEX
    assert served[FLOODER] <= 1.1 * max(others)
