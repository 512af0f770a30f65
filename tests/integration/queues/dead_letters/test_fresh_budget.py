"""After a requeue every count that makes a dead letter starts from zero."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from apps.protocol import Finish
from apps.queues.dead_letters.one import requeue
from apps.runs.lifecycle import fail_attempts
from apps.runs.models import Run
from apps.runs.states import Outcome, RunState
from tests.factories import make_attempt, make_run, make_task

pytestmark = pytest.mark.django_db

CAUSES = [
    pytest.param(Outcome.FAILED, 3, 3, id="budget"),
    pytest.param(Outcome.CRASHED, 100, 3, id="poison"),
    pytest.param(Outcome.LOST, 1, 3, id="lost"),
    pytest.param(Outcome.START_FAILED, 1, 8, id="start"),
]


def end_one_more(run: Run, outcome: Outcome) -> str:
    """Claims the run as the claim does, ends the attempt, and returns the run's next state."""
    token = uuid4().bytes
    Run.objects.filter(id=run.id).update(
        state=RunState.RUNNING,
        token=token,
        worker_id=uuid4(),
        lease_end=datetime.now(UTC) + timedelta(minutes=1),
        due_at=None,
    )
    run.refresh_from_db()
    make_attempt(run)
    (answer,) = fail_attempts([Finish(run.id, token, outcome)])
    run.refresh_from_db()
    return answer.state


@pytest.mark.parametrize(("outcome", "max_attempts", "count"), CAUSES)
def test_each_count_starts_from_zero(outcome: Outcome, max_attempts: int, count: int) -> None:
    run = make_run(make_task(), max_attempts=max_attempts)

    for number in (1, 2):
        states = [end_one_more(run, outcome) for _ in range(count)]
        assert states[-1] == "dead_letter"
        assert "dead_letter" not in states[:-1]
        assert run.attempt_count == count * number
        requeue(run_id=run.id)
        run.refresh_from_db()

    assert (run.state, run.budget_base) == ("pending", count * 2)


def test_attempts_that_do_not_count_raise_the_limit_that_is_shown() -> None:
    run = make_run(make_task(), max_attempts=2)
    for outcome in (Outcome.START_FAILED, Outcome.RELEASED, Outcome.FAILED, Outcome.START_FAILED, Outcome.FAILED):
        assert run.attempt_count < run.attempt_limit
        end_one_more(run, outcome)

    assert (run.state, run.attempt_count, run.attempt_limit, run.excused_count) == ("dead_letter", 5, 5, 3)
    requeue(run_id=run.id)
    run.refresh_from_db()
    assert (run.attempt_limit, run.excused_count) == (7, 0)


def test_time_as_a_dead_letter_is_no_part_of_the_duration() -> None:
    started = datetime.now(UTC) - timedelta(hours=10)
    ended = started + timedelta(minutes=1)
    run = make_run(make_task(), state="dead_letter", started_at=started, finished_at=ended, attempt_count=1)
    assert run.seconds == 60

    requeue(run_id=run.id)

    run.refresh_from_db()
    assert run.live_since is not None
    assert run.dead_letter_seconds == pytest.approx(10 * 3600 - 60, abs=300)
    assert (run.live_since - started).total_seconds() == run.dead_letter_seconds


def test_kills_on_both_sides_of_a_requeue_do_not_add_up() -> None:
    run = make_run(make_task(), max_attempts=2)
    assert [end_one_more(run, Outcome.LOST) for _ in range(2)] == ["pending", "pending"]
    assert [end_one_more(run, Outcome.FAILED) for _ in range(2)] == ["retrying", "dead_letter"]
    requeue(run_id=run.id)

    assert [end_one_more(run, Outcome.LOST) for _ in range(3)] == ["pending", "pending", "dead_letter"]
