"""A task whose runs keep failing is slowed down as a whole, by the real claims and ends of attempts (contract, §5)."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from apps import protocol as wire
from apps.queues.controls import lift_cooldown
from apps.runs.lifecycle import fail_attempts, trigger
from apps.runs.models import Run, TaskControl
from apps.runs.states import Outcome
from tests.coordinator_harness import Clock, Coordinator
from tests.factories import make_task
from tests.integration.coordinator.due_claims import claim_rows, claimed

TASK = "noop"


@pytest.fixture
def site(coordinator: Coordinator, clock: Clock) -> Clock:
    make_task(TASK, options={"retry": {"max_attempts": 1}})
    make_task("other", options={"retry": {"max_attempts": 1}})
    return clock


def end(row: Any, outcome: Outcome = Outcome.FAILED) -> None:
    error = {"type": "E", "message": "down", "stack": ""}
    (answer,) = fail_attempts([wire.Finish(row.run_id, bytes(row.token), outcome, error=error)])
    assert not answer.is_stale


def complete(coordinator: Coordinator, row: Any) -> None:
    (result,) = coordinator.finish(wire.Finish(row.run_id, bytes(row.token), "completed", output=b"null"))
    assert result.status == 200


def fail_runs(count: int, task: str = TASK) -> None:
    """So many new runs of the task fail for good, one after the other."""
    for _ in range(count):
        trigger(task, {})
    rows = claim_rows(count)
    assert len(rows) == count
    for row in rows:
        end(row)


def control() -> TaskControl:
    return TaskControl.objects.get(task_id=TASK)


def more_runs(count: int) -> Sequence[UUID]:
    return [trigger(TASK, {}).id for _ in range(count)]


def test_ten_failures_slow_the_task_down_one_probe_at_a_time_and_a_success_ends_it(
    site: Clock, coordinator: Coordinator
) -> None:
    fail_runs(9)
    assert control().cooling_until is None
    fail_runs(1)
    waiting = more_runs(4)

    assert claimed(10) == []  # the tenth asks for 2^0 s
    site.advance(1.1)
    (probe,) = claim_rows(10)
    site.advance(50)
    assert claimed(10) == []  # one at a time

    end(probe)
    assert claimed(10) == []  # the eleventh asks for 2^1 s
    site.advance(1.5)
    assert claimed(10) == []
    site.advance(0.6)
    (probe,) = claim_rows(10)

    complete(coordinator, probe)
    assert set(claimed(10)) == set(waiting) - {probe.run_id} - {row for row in waiting if is_dead(row)}
    assert (control().failing_runs, control().cooling_until) == ([], None)


def is_dead(run_id: UUID) -> bool:
    return str(Run.objects.get(id=run_id).state) == "dead_letter"


def test_pause_between_probes_doubles_up_to_five_minutes(site: Clock) -> None:
    fail_runs(10)
    more_runs(12)
    pauses = []
    for _ in range(11):
        before = control()
        assert before.cooling_until is not None
        site.advance(301)
        (probe,) = claim_rows(10)
        end(probe)
        after = control()
        ended = Run.objects.get(id=probe.run_id).finished_at
        assert after.cooling_until is not None
        assert ended is not None
        pauses.append(round((after.cooling_until - ended).total_seconds()))

    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


def test_one_run_that_fails_often_counts_once(site: Clock) -> None:
    trigger(TASK, {}, max_attempts=20)
    for _ in range(12):
        (row,) = claim_rows(1)
        end(row)
        site.advance(4000)

    assert len(control().failing_runs) == 1
    assert control().cooling_until is None


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.START_FAILED, Outcome.RELEASED, Outcome.SUSPENDED])
def test_platforms_own_faults_slow_no_task_down(site: Clock, outcome: Outcome) -> None:
    for _ in range(12):
        trigger(TASK, {})
    for row in claim_rows(12):
        end(row, outcome)

    assert not TaskControl.objects.exists()


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.CRASHED])
def test_codes_own_faults_do(site: Clock, outcome: Outcome) -> None:
    for _ in range(10):
        trigger(TASK, {})
    for row in claim_rows(10):
        end(row, outcome)

    assert control().cooling_until is not None


def test_success_between_the_failures_begins_the_count_anew(site: Clock, coordinator: Coordinator) -> None:
    fail_runs(9)
    trigger(TASK, {})
    complete(coordinator, claim_rows(1)[0])
    fail_runs(9)

    assert len(control().failing_runs) == 9
    assert control().cooling_until is None


def test_other_tasks_of_the_same_queue_go_on(site: Clock) -> None:
    fail_runs(10)
    trigger(TASK, {}, queue="shared")
    other = trigger("other", {}, queue="shared")

    assert claimed(10) == [other.id]


def test_lifted_task_goes_on_at_once_and_counts_anew(site: Clock) -> None:
    fail_runs(12 - 2)
    waiting = more_runs(3)
    assert claimed(10) == []

    assert lift_cooldown(TASK)

    rows = claim_rows(10)
    assert [row.run_id for row in rows] == waiting
    end(rows[0])
    assert len(control().failing_runs) == 1


def test_canceled_run_is_no_failure(site: Clock) -> None:
    from apps.runs.lifecycle import cancel

    for _ in range(10):
        trigger(TASK, {})
    for row in claim_rows(10):
        cancel(row.run_id)
        end(row, Outcome.CANCELED)

    assert not TaskControl.objects.exists()


def test_run_that_ran_out_of_memory_is_claimed_with_the_larger_limit_from_then_on(site: Clock) -> None:
    trigger(TASK, {}, max_attempts=5)
    seen = []
    for outcome in (Outcome.FAILED, Outcome.OUT_OF_MEMORY, Outcome.FAILED, Outcome.FAILED):
        (row,) = claim_rows(1)
        seen.append(row.has_run_out_of_memory)
        end(row, outcome)
        site.advance(4000)

    assert seen == [False, False, True, True]


def test_probe_that_runs_for_longer_than_a_minute_holds_back_nobody(site: Clock, coordinator: Coordinator) -> None:
    fail_runs(10)
    more_runs(5)
    site.advance(1.1)
    (first,) = claim_rows(10)
    site.advance(30)
    assert claimed(10) == []
    site.advance(31)
    (second,) = claim_rows(10)
    assert claimed(10) == []  # now this one is the probe

    end(second)
    site.advance(2.1)
    (third,) = claim_rows(10)
    complete(coordinator, first)

    assert len(claim_rows(10)) == 2  # the success of the long one ends it all
    assert third.run_id not in {first.run_id, second.run_id}


def test_probe_holds_back_the_next_for_the_interval_where_that_is_longer(site: Clock) -> None:
    fail_runs(17)
    more_runs(2)
    site.advance(129)
    assert len(claim_rows(10)) == 1
    site.advance(70)
    assert claimed(10) == []
    site.advance(60)

    assert len(claim_rows(10)) == 1


def test_runs_that_ran_before_the_cool_down_began_hold_back_no_probe(site: Clock) -> None:
    for _ in range(11):
        trigger(TASK, {})
    *failing, long = claim_rows(11)
    for row in failing:
        end(row)
    more_runs(3)
    site.advance(1.1)

    (probe,) = claim_rows(10)
    end(long)  # asks for an interval of its own, and the probe stays the probe
    site.advance(2.1)
    assert claimed(10) == []
    end(probe)
    site.advance(4.1)

    assert len(claim_rows(10)) == 1


def test_probe_that_was_lost_holds_back_nobody(site: Clock) -> None:
    fail_runs(10)
    more_runs(2)
    site.advance(1.1)
    (probe,) = claim_rows(10)
    end(probe, Outcome.LOST)
    site.advance(1.1)

    assert len(claim_rows(10)) == 1


def test_run_that_probed_an_earlier_cool_down_is_none_of_the_next(site: Clock) -> None:
    fail_runs(10)
    more_runs(1)
    site.advance(1.1)
    (probe,) = claim_rows(10)
    assert lift_cooldown(TASK)
    fail_runs(10)
    more_runs(1)
    site.advance(1.1)

    assert len(claim_rows(10)) == 1
    assert Run.objects.get(id=probe.run_id).state == "running"
