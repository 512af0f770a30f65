"""Limits hold at every commit and in every window of time, while runs end and limits change; and nothing is left over.

The checkers are in `limit_watch.py`; each is shown a claim that breaks a limit too. `TRIGGER_TEST_LIMIT_RUNS` sets
the size.
"""

import asyncio
import os
import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from apps.queues.claim.claimer import CHARGE_RATES, LANE_TERMS, LOCK_CLAIMS, PAIR_LIMIT, Claimer
from apps.queues.claim.rates import parse_rate
from apps.queues.controls import set_queue
from apps.queues.models import Queue
from apps.runs.models import Attempt, Run
from tests.reliability.limit_site import (
    Crowd,
    LimitChanger,
    add_runs,
    make_tasks,
    replaced_text,
)
from tests.reliability.limit_watch import Watch, excess_of_starts, watched_limits
from tests.reliability.stepped_claims import Stage, interleavings

RUN_COUNT = int(os.environ.get("TRIGGER_TEST_LIMIT_RUNS", "2400"))
SEED = int(os.environ.get("TRIGGER_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)

TASKS: dict[str, dict[str, Any]] = {
    "bill": {"max_concurrency": 2, "max_concurrency_total": 6},
    "mail": {"max_concurrency_total": 5},
    "ship": {"max_concurrency": 3},
    "free": {},
}
KEYS = ["a", "b", "c", "d", "e"]

STATEMENTS_OF_A_CLAIM = 4
"""find_lanes, lock_claims, lane_terms, claim_runs."""

LOCKED_WHILE_COUNTING = ("SELECT trigger_now() AS now", "SELECT trigger_now() AS now, pg_advisory_xact_lock(8000001)")
"""The form of one statement: its counts are as old as its start, whenever it gets the lock."""


@pytest.fixture
def watch(committed: str) -> Iterator[Watch]:
    with watched_limits() as watch:
        yield watch


def changer(seed: int) -> LimitChanger:
    return LimitChanger(
        seed,
        queues={"shared": (1, 3, 7, None), "ship": (2, 4, None)},
        tasks={
            "bill": {"max_concurrency": (1, 3, None), "max_concurrency_total": (2, 8, None)},
            "mail": {"max_concurrency_total": (1, 9, None)},
            "ship": {"max_concurrency": (1, 4, None), "max_concurrency_total": (3, None)},
        },
    )


def fill(count: int) -> None:
    make_tasks(TASKS)
    share = count // 6
    for task in ("bill", "mail", "free"):
        add_runs(task, share, queue="shared", keys=KEYS)
    for task in ("bill", "ship"):
        add_runs(task, share, keys=KEYS, priority=1)
    add_runs("free", share)


def test_no_commit_exceeds_a_limit_while_limits_change(committed: str, watch: Watch) -> None:
    fill(RUN_COUNT)
    crowd, changes = Crowd(committed, SEED), changer(SEED)
    set_queue("shared", max_concurrency=7)

    crowd.work_off(changes)

    seen = watch.seen()
    print(
        f"\nseed {SEED}: {crowd.claimed_count:,} runs in {crowd.claim_count:,} claims by {crowd.size} sessions, "
        f"{changes.change_count:,} changes of limits, {crowd.deadlock_count} deadlocks; "
        f"{sum(each.commit_count for each in seen):,} counts of {len(seen)} limits, "
        f"{sum(each.full_count for each in seen):,} of them full"
    )
    assert watch.exceeded() == []
    assert {each.scope for each in seen if each.full_count} == {"queue", "task", "key"}
    assert set(Run.objects.values_list("state", flat=True)) <= {"completed", "dead_letter"}
    assert crowd.deadlock_count == 0


START_AGAIN = """
DELETE FROM runs_attempt;
UPDATE runs_run SET state = 'pending', token = NULL, worker_id = NULL, lease_end = NULL, attempt_count = 0
"""


async def claim_ten(database: psycopg.AsyncConnection[Any]) -> object:
    return await Claimer().claim(database, worker_id=uuid4(), poll_id=uuid4(), limit=10, confirm_seconds=10)


async def running_after(url: str, orders: Iterable[str]) -> dict[str, int]:
    """How many runs are running after two claims whose statements followed each other in that order."""
    running: dict[str, int] = {}
    async with Stage(url) as stage:
        for order in orders:
            await stage.observer.execute(START_AGAIN)
            await stage.lead(order, [claim_ten, claim_ten])
            cursor = await stage.observer.execute("SELECT count(*) FROM runs_run WHERE state = 'running'")
            ((running[order],),) = await cursor.fetchall()
    return running


@pytest.mark.parametrize("form", ["two statements", "one statement"])
def test_every_interleaving_of_two_claims_keeps_a_limit_of_three(committed: str, watch: Watch, form: str) -> None:
    make_tasks({"free": {}})
    add_runs("free", 8)
    set_queue("free", max_concurrency=3)
    orders = list(interleavings(STATEMENTS_OF_A_CLAIM, STATEMENTS_OF_A_CLAIM))
    with ExitStack() as planted:
        if form == "one statement":
            planted.enter_context(replaced_text(LANE_TERMS, *LOCKED_WHILE_COUNTING))
            planted.enter_context(replaced_text(LOCK_CLAIMS, LOCK_CLAIMS.text, "SELECT 1"))
        running = asyncio.run(running_after(committed, orders))

    over = [order for order, count in running.items() if count > 3]
    print(f"\n{form}: {len(orders)} interleavings, over the limit of 3 in {len(over)} of them, e.g. {over[:1]}")
    if form == "one statement":
        assert over
        assert watch.exceeded(), "the checker of limits overlooks what was counted here"
    else:
        assert set(running.values()) == {3}
        assert watch.exceeded() == []


def test_run_behind_a_thousand_paused_queues_is_claimed(committed: str) -> None:
    make_tasks({"free": {}})
    queues = [f"paused-{number:04}" for number in range(PAIR_LIMIT + 1)]
    Queue.objects.bulk_create(Queue(name=name, is_paused=True) for name in queues)
    Run.objects.bulk_create(Run(task_id="free", queue=name) for name in queues)
    (behind,) = add_runs("free", 1, queue="ready")

    async def claim_twice() -> list[UUID]:
        """One claim looks at the first page of queues, the next one behind it."""
        claimer, taken = Claimer(), list[UUID]()
        async with await psycopg.AsyncConnection.connect(committed, autocommit=True) as database:
            for _ in range(2):
                claimed = await claimer.claim(
                    database, worker_id=uuid4(), poll_id=uuid4(), limit=10, confirm_seconds=10
                )
                taken += [row.run_id for row in claimed.rows]
                await asyncio.sleep(claimed.again_in_seconds or 0.0)
        return taken

    assert asyncio.run(claim_twice()) == [behind.id]


RATES = {"task": 30, "key": 20, "queue": 25}
"""Per second. The first has an interval of no whole microseconds, which is all that the database's times can say."""


def fill_rated(count: int) -> None:
    make_tasks(
        {"sms": {"rate_limit": f"{RATES['task']}/s"}, "call": {"rate_limit_per_key": f"{RATES['key']}/s"}, "free": {}}
    )
    Queue.objects.create(name="slow", rate_limit=f"{RATES['queue']}/s")
    add_runs("sms", count)
    add_runs("call", count, keys=["a", "b"])
    add_runs("free", count, queue="slow")


def excesses() -> dict[str, float]:
    """By how many starts each rate was exceeded in its fullest window."""
    starts = list(Attempt.objects.values_list("run__task_id", "run__concurrency_key", "run__queue", "claimed_at"))
    bounds = {
        "task": [at for task, _, _, at in starts if task == "sms"],
        "key a": [at for task, key, _, at in starts if (task, key) == ("call", "a")],
        "key b": [at for task, key, _, at in starts if (task, key) == ("call", "b")],
        "queue": [at for _, _, queue, at in starts if queue == "slow"],
    }
    limits = {name: RATES[name.split()[0]] for name in bounds}
    return {
        name: excess_of_starts(
            times,
            interval_micros=Fraction(1_000_000, limits[name]),
            burst=parse_rate(f"{limits[name]}/s").burst,
        )
        for name, times in bounds.items()
    }


@pytest.mark.parametrize("form", ["charged", "never charged"])
def test_no_window_holds_more_starts_than_its_rate_allows(committed: str, form: str) -> None:
    fill_rated(RUN_COUNT // 24)
    crowd = Crowd(committed, SEED, fail_share=0.02)
    planted = replaced_text(CHARGE_RATES, "%(now)s::timestamptz + make", "%(now)s::timestamptz - make")
    with planted if form == "never charged" else nullcontext():
        crowd.work_off()

    over = excesses()
    print(
        f"\nseed {SEED}, {form}: {crowd.claimed_count:,} starts; the fullest windows have over their rate: "
        + ", ".join(f"{name} {excess:+.2f}" for name, excess in over.items())
    )
    if form == "charged":
        assert max(over.values()) <= 0
        # A rate that was never reached proves nothing.
        assert max(over.values()) > -2
    else:
        assert min(over.values()) > 0
    assert set(Run.objects.values_list("state", flat=True)) <= {"completed", "dead_letter"}
