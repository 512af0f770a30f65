"""What a claim takes and leaves: limits, turns, pauses, rates, cool-down, retired tasks, expired runs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from apps.queues.claim import claimer as claims
from apps.queues.claim.claimer import Claimer
from apps.queues.models import Queue, RateLimit
from apps.runs.models import BUMPED_PRIORITY, Run, TaskControl
from tests.coordinator_harness import Clock
from tests.factories import make_attempt, make_run, make_task
from tests.integration.coordinator.claiming import claim_once, claimed_ids, complete, keys_of, tasks_of

PAST = datetime(2020, 1, 1, tzinfo=UTC)


def make_runs(count: int, task: str = "process-order", **fields: Any) -> list[Run]:
    return [make_run(task, **fields) for _ in range(count)]


def test_key_limit_is_per_key_and_total_over_all_keys(committed: str) -> None:
    make_task(options={"max_concurrency": 2, "max_concurrency_total": 5})
    for key in "abc":
        make_runs(4, concurrency_key=key)

    first = claim_once(committed)
    second = claim_once(committed)

    assert sorted(keys_of(first)) == ["a", "a", "b", "b", "c"]
    assert keys_of(second) == []
    complete(first.rows[0])
    assert len(claim_once(committed).rows) == 1


def test_room_that_another_key_may_use_and_does_not_turns_no_order_around(committed: str) -> None:
    make_task("limited", options={"max_concurrency_total": 2})
    make_task("other")
    make_runs(2, "other", queue="shared", concurrency_key="a", priority=5)
    make_runs(2, "limited", queue="shared", concurrency_key="a")
    make_runs(1, "limited", queue="shared", concurrency_key="b", priority=5)
    make_runs(2, "other", queue="shared", concurrency_key="b")

    taken = claim_once(committed, 4)

    assert sorted((row.concurrency_key, row.task_id) for row in taken.rows) == [
        ("a", "other"), ("a", "other"), ("b", "limited"), ("b", "other"),
    ]  # fmt: skip


def test_room_that_another_key_does_use_holds_nothing_back(committed: str) -> None:
    make_task("limited", options={"max_concurrency_total": 2})
    make_task("other")
    for key in "ab":
        make_runs(2, "limited", queue="shared", concurrency_key=key, priority=5)
        make_runs(2, "other", queue="shared", concurrency_key=key)

    taken = claim_once(committed, 4)

    assert sorted((row.concurrency_key, row.task_id) for row in taken.rows) == [
        ("a", "limited"), ("a", "limited"), ("b", "other"), ("b", "other"),
    ]  # fmt: skip


def test_limit_without_keys_is_the_tasks_own(committed: str) -> None:
    make_task(options={"max_concurrency": 3})
    make_runs(5)

    assert len(claim_once(committed).rows) == 3


def test_queue_limit_holds_over_its_tasks(committed: str) -> None:
    Queue.objects.create(name="shared", max_concurrency=3)
    for task in ("import", "export"):
        make_task(task)
        make_runs(4, task, queue="shared")

    assert len(claim_once(committed).rows) == 3


def test_override_beats_the_declared_limit_until_it_is_null(committed: str) -> None:
    make_task(options={"max_concurrency": 1})
    make_runs(6)
    control = TaskControl.objects.create(task_id="process-order", max_concurrency=4)

    assert len(claim_once(committed).rows) == 4
    control.max_concurrency = None
    control.save()
    assert claimed_ids(committed) == []


def test_limit_lowered_below_what_runs_stops_claims_and_kills_nothing(committed: str) -> None:
    make_task(options={"max_concurrency": 4})
    make_runs(8)
    rows = claim_once(committed).rows
    TaskControl.objects.create(task_id="process-order", max_concurrency=2)

    complete(*rows[:2])
    assert claimed_ids(committed) == []
    complete(rows[2])
    assert len(claimed_ids(committed)) == 1


def test_priority_decides_between_tasks_of_a_queue_that_is_nearly_full(committed: str) -> None:
    Queue.objects.create(name="shared", max_concurrency=3)
    make_task("aaa")
    make_task("bbb")
    make_runs(6, "aaa", queue="shared")
    make_runs(2, "bbb", queue="shared", priority=50)
    make_runs(1, "bbb", queue="shared", priority=-50)

    assert tasks_of(claim_once(committed, 10)) == ["bbb", "bbb", "aaa"]


def test_bumped_run_goes_first_and_ties_go_by_age(committed: str) -> None:
    runs = make_runs(3, priority=100)
    bumped = make_run(priority=BUMPED_PRIORITY)

    assert claimed_ids(committed, 3) == [bumped.id, runs[0].id, runs[1].id]


def test_keys_take_turns_over_claims_of_one(committed: str) -> None:
    make_runs(8, concurrency_key="flood")
    for key in "ab":
        make_runs(3, concurrency_key=key)
    claimer = Claimer()

    keys = [keys_of(claim_once(committed, 1, claimer))[0] for _ in range(9)]

    assert sorted(keys) == ["a"] * 3 + ["b"] * 3 + ["flood"] * 3


def test_what_one_key_leaves_goes_to_the_others(committed: str) -> None:
    make_runs(1, concurrency_key="small")
    make_runs(20, concurrency_key="large")

    assert len(claim_once(committed, 12).rows) == 12


@pytest.mark.parametrize("place", ["queue", "task"])
def test_paused_keeps_its_runs(committed: str, place: str) -> None:
    make_runs(2)
    other = make_run("other")
    if place == "queue":
        Queue.objects.create(name="process-order", is_paused=True)
    else:
        TaskControl.objects.create(task_id="process-order", is_paused=True)

    assert claimed_ids(committed) == [other.id]


def test_rate_lets_a_burst_through_and_says_when_more_may_start(committed: str, clock: Clock) -> None:
    make_task(options={"rate_limit": "100/m"})
    make_runs(20)

    first = claim_once(committed)
    clock.advance(1.25)
    second = claim_once(committed)

    assert len(first.rows) == 10
    assert first.again_in_seconds == pytest.approx(0.6, abs=0.2)
    assert len(second.rows) == 2


def test_rates_of_keys_are_apart_and_the_queue_counts_all(committed: str) -> None:
    make_task(options={"rate_limit_per_key": "20/m"})
    Queue.objects.create(name="process-order", rate_limit="30/m")
    for key in "ab":
        make_runs(5, concurrency_key=key)

    assert sorted(keys_of(claim_once(committed))) == ["a", "a", "b"]
    assert RateLimit.objects.count() == 3


def test_claim_that_takes_nothing_charges_nothing(committed: str) -> None:
    make_task(options={"rate_limit": "10/s", "max_concurrency": 1})
    make_run(state="running")
    make_runs(3)

    assert claimed_ids(committed) == []
    assert not RateLimit.objects.exists()


def cool(count: int = 10) -> TaskControl:
    return TaskControl.objects.create(
        task_id="process-order", failing_runs=[run.id for run in make_runs(count, state="dead_letter")]
    )


def test_cooling_task_is_probed_once_and_then_after_its_interval(committed: str, clock: Clock) -> None:
    make_runs(3)
    cool(12)

    (probe,) = claim_once(committed).rows
    assert claimed_ids(committed) == []
    complete(probe)
    assert claimed_ids(committed) == []
    clock.advance(4.1)
    assert len(claimed_ids(committed)) == 1


def test_task_below_the_count_is_not_slowed_down(committed: str) -> None:
    make_runs(3)
    cool(9)

    assert len(claimed_ids(committed)) == 3


def test_retired_task_goes_on_with_what_has_a_deployment(committed: str) -> None:
    task = make_task(is_retired=True)
    make_runs(3)
    bound = make_run(deployment=task.deployment)

    assert claimed_ids(committed) == [bound.id]


def test_expired_run_is_left_unless_it_has_started_before(committed: str) -> None:
    make_run(expires_at=PAST)
    started = make_run(expires_at=PAST)
    make_attempt(started, outcome="failed")
    fresh = make_run(expires_at=datetime.now(UTC) + timedelta(hours=1))

    assert claimed_ids(committed) == [started.id, fresh.id]


def test_queues_beyond_the_page_have_their_turn(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "PAIR_LIMIT", 3)
    make_task()
    for number in range(7):
        make_runs(1, queue=f"queue-{number}")
        if number < 6:
            Queue.objects.create(name=f"queue-{number}", is_paused=True)
    claimer = Claimer()

    taken = [row.queue for _ in range(4) for row in _find_again(committed, claimer)]

    assert taken == ["queue-6"]


def _find_again(url: str, claimer: Claimer) -> Any:
    claimer.lanes.pause_seconds = 0.0
    return claim_once(url, 100, claimer).rows


def test_keys_beyond_the_page_have_their_turn(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LANE_LIMIT", 4)
    monkeypatch.setattr("apps.queues.claim.lanes.LANE_LIMIT", 4)
    make_task(options={"max_concurrency": 1})
    for number in range(6):
        make_run(state="running", concurrency_key=f"key-{number}")
        make_run(concurrency_key=f"key-{number}")
    make_run(concurrency_key="key-9")
    claimer = Claimer()

    taken = [row.concurrency_key for _ in range(4) for row in _find_again(committed, claimer)]

    assert taken == ["key-9"]


def test_error_forgets_what_was_rolled_back(committed: str) -> None:
    runs = make_runs(3)
    claimer = Claimer()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_attempt ADD CONSTRAINT none CHECK (number > 1) NOT VALID")
    try:
        with pytest.raises(Exception, match="none"):
            claim_once(committed, 2, claimer)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE runs_attempt DROP CONSTRAINT none")

    assert [row.run_id for row in claim_once(committed, 5, claimer).rows] == [run.id for run in runs]
