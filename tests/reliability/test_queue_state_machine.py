"""The queue against a model of it: the same verbs on plain Python and on Postgres, compared after every step.

`TRIGGER_TEST_SEED` repeats a search. Planted faults in the statements must be found, so the comparison can fail: by
sequences that once showed them, and in the long tier by a search. With `TRIGGER_TEST_STORE=1` what the search finds is
stored.
"""

import os
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from apps.checkpoints.store import SAVE_CHECKPOINTS
from apps.queues.claim import claimer as claims
from apps.queues.claim.lanes import Lanes
from apps.queues.claim.shares import Lane
from apps.runs import lifecycle
from apps.workers import leases
from tests.reliability.limit_site import replaced_text
from tests.reliability.queue_model_driver import TASKS
from tests.reliability.queue_model_machine import QueueMachine
from tests.reliability.queue_model_replay import fails, replay, shortened, store, stored
from tests.reliability.queue_model_site import Site
from tests.reliability.queue_model_terms import COOLING_FROM, FINAL

SEED = int(os.environ.get("TRIGGER_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
STEP_COUNT = 50
PLANT_SEARCH_COUNT = 1_000
"""At most; a fault ends the search."""

SEARCH = settings(
    stateful_step_count=STEP_COUNT, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate], report_multiple_bugs=False, print_blob=False,
)  # fmt: skip

PLANTS = {
    "complete without token": (lifecycle.COMPLETE_ATTEMPTS, "AND r.token = i.token AND (r.state", "AND (r.state"),
    "renew without token": (leases.RENEW_LEASES, "AND r.token = i.token AND (r.state", "AND (r.state"),
    "save without token": (SAVE_CHECKPOINTS, "AND r.token = i.token AND (r.state", "AND (r.state"),
    "queue's limit ignored": (claims.LANE_TERMS, "q.max_concurrency AS", "NULL::int AS"),
    "key's limit ignored": (claims.LANE_TERMS, "coalesce(c.max_concurrency, ", "nullif(c.max_concurrency, "),
    "failures not counted": (lifecycle.LOCK_ATTEMPTS, "('failed', 'timed_out',", "('timed_out',"),
    "kills before a checkpoint counted": (lifecycle.LOCK_ATTEMPTS, "e.number >= r.progress_attempt AND", ""),
    "oldest first, whatever its priority": (claims.CLAIM_RUNS, "ORDER BY 0 - r.priority, r.id", "ORDER BY r.id"),
    "rates charged once per claim": (claims.CHARGE_RATES, "secs => i.seconds", "secs => least(i.seconds, 1)"),
    "promoted before its time": (claims.PROMOTE_DUE, "due_at <=", "due_at - interval '2 s' <="),
    "leases end while the database is away": (leases.EXPIRED_LEASES, "(SELECT trusted_from FROM pulse)", "'-infinity'"),
    "a success cures nothing": (lifecycle.COMPLETE_ATTEMPTS, "trigger_forget_failures(task_id)", "task_id"),
}


@pytest.fixture
def site(committed: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for module in (lifecycle, claims):
        monkeypatch.setattr(module, "COOLING_FROM", COOLING_FROM)
    monkeypatch.setattr(Lanes, "found", _found_in_any_order)
    site = Site(committed, TASKS)
    QueueMachine.site = site
    QueueMachine.coverage.clear()
    yield site
    site.close()


_found = Lanes.found
_order = random.Random(SEED)


def _found_in_any_order(self: Lanes, lanes: Sequence[Lane], **times: Any) -> None:
    """Postgres returns the lanes as its plan has it, which depends on what it last counted."""
    _found(self, _order.sample(lanes, len(lanes)), **times)


def search(count: int) -> None:
    seed(SEED)(QueueMachine)
    run_state_machine_as_test(QueueMachine, settings=settings(SEARCH, max_examples=count))


def report(count: int, began_at: float) -> None:
    seconds = time.monotonic() - began_at
    print(f"\nseed {SEED}: {count:,} sequences of up to {STEP_COUNT} steps in {seconds:.0f} s; covered:")
    for what, times in sorted(QueueMachine.coverage.items()):
        print(f"  {what:48} {times:>9,}")


def assert_covered() -> None:
    """The states that the verbs lead to, and the refusals."""
    reached = {what.removeprefix("state ") for what in QueueMachine.coverage if what.startswith("state ")}
    assert reached == FINAL | {"delayed", "pending", "running", "retrying"}
    for what in ("cancel", "requeue", "discard", "bump"):
        assert QueueMachine.coverage[f"{what} refused"]
    for what in ("start: stale", "renew: stale", "save: stale", "complete: stale", "complete: repeated"):
        assert QueueMachine.coverage[what], what


def prove(count: int) -> None:
    began_at = time.monotonic()
    search(count)
    report(count, began_at)
    assert_covered()


def test_database_does_what_the_model_does(site: Site) -> None:
    prove(200)


@pytest.mark.long
def test_database_does_what_the_model_does_for_long(site: Site) -> None:
    prove(5_000)


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_fault_shows_in_its_stored_sequence(site: Site, plant: str) -> None:
    sequence = stored(plant)
    replay(sequence)
    with replaced_text(*PLANTS[plant]):
        assert fails(sequence), f"store another one: TRIGGER_TEST_STORE=1 make prove ARGS='-k \"found and {plant}\"'"


@pytest.mark.long
@pytest.mark.parametrize("plant", PLANTS)
def test_planted_fault_is_found(site: Site, plant: str) -> None:
    began_at = time.monotonic()
    with replaced_text(*PLANTS[plant]):
        with pytest.raises((AssertionError, Flaky)) as found:
            search(PLANT_SEARCH_COUNT)
        print(f"\nseed {SEED}: {plant}: found after {time.monotonic() - began_at:.1f} s: {found.value!s:.120}")
        if os.environ.get("TRIGGER_TEST_STORE"):
            sequence = shortened(list(QueueMachine.history))
            assert all(fails(sequence) for _ in range(100))
            store(plant, sequence)
