"""The verbs that end attempts and cancel runs: success, wrong state, and what each one leaves behind."""

from typing import Any
from uuid import uuid4

import pytest

from apps.protocol import Finish
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.lifecycle import Answer, cancel, fail_attempts
from apps.runs.models import Run
from apps.runs.states import FINAL_STATES, Outcome, RunState
from tests.factories import make_attempt, make_run, make_task

pytestmark = pytest.mark.django_db


def running(**overrides: Any) -> tuple[Run, bytes]:
    run = make_run(state=RunState.RUNNING, **overrides)
    attempt = make_attempt(run)
    return run, bytes(attempt.token)


def end(run: Run, token: bytes, outcome: Outcome = Outcome.FAILED, **fields: object) -> Answer:
    (answer,) = fail_attempts([Finish(run.id, token, outcome, **fields)])  # type: ignore[arg-type]
    run.refresh_from_db()
    return answer


def test_failure_waits_for_its_retry() -> None:
    make_task(options={"retry": {"initial": 100, "factor": 1, "max": 100, "max_attempts": 3}})
    run, token = running()

    answer = end(run, token, error={"type": "E", "message": "m", "stack": "s"})

    assert (answer, run.state) == (Answer(is_stale=False, state="retrying"), "retrying")
    assert (run.token, run.lease_end, run.worker_id) == (None, None, None)
    attempt = run.attempts.get()
    assert (attempt.outcome, attempt.error) == ("failed", {"type": "E", "message": "m", "stack": "s"})
    assert run.due_at is not None
    assert attempt.finished_at is not None
    assert 50 <= (run.due_at - attempt.finished_at).total_seconds() <= 100


def test_last_failure_is_a_dead_letter_that_says_why() -> None:
    run, token = running(max_attempts=1)

    end(run, token, error={"type": "E", "message": "m", "stack": "s"})

    assert (run.state, run.due_at) == ("dead_letter", None)
    assert run.finished_at is not None
    assert run.value.error == {"type": "E", "message": "m", "stack": "s", "reason": "all 1 attempts are used"}


def test_budget_counts_the_codes_own_failures_only() -> None:
    run = make_run(state=RunState.RUNNING, max_attempts=3)
    for outcome in ("failed", "lost", "released", "start_failed", "failed"):
        make_attempt(run, outcome=outcome, token=uuid4().bytes)
    token = bytes(make_attempt(run).token)

    end(run, token)

    assert run.state == "dead_letter"


def test_attempts_before_a_requeue_count_no_more() -> None:
    run = make_run(state=RunState.RUNNING, max_attempts=2, budget_base=2)
    for _ in range(2):
        make_attempt(run, outcome="failed", token=uuid4().bytes)
    token = bytes(make_attempt(run).token)

    assert end(run, token).state == "retrying"


def test_attempts_given_back_do_not_count_as_failed_starts() -> None:
    run = make_run(state=RunState.RUNNING)
    for number in range(7):
        make_attempt(run, outcome="released" if number == 5 else "start_failed", token=uuid4().bytes)
    first = bytes(make_attempt(run).token)

    assert end(run, first, Outcome.START_FAILED).state == "retrying"


def test_eighth_failed_start_in_a_row_is_a_dead_letter() -> None:
    run = make_run(state=RunState.RUNNING)
    for _ in range(7):
        make_attempt(run, outcome="start_failed", token=uuid4().bytes)
    token = bytes(make_attempt(run).token)

    end(run, token, Outcome.START_FAILED)

    assert run.state == "dead_letter"
    assert (run.value.error or {})["message"] == "failed to start 8 times in a row"


def test_crash_between_failed_starts_restarts_their_count() -> None:
    run = make_run(state=RunState.RUNNING)
    for number in range(7):
        make_attempt(run, outcome="lost" if number == 3 else "start_failed", token=uuid4().bytes)
    token = bytes(make_attempt(run).token)

    assert end(run, token, Outcome.START_FAILED).state == "retrying"


def test_abort_is_a_dead_letter_at_once() -> None:
    run, token = running(max_attempts=9)

    end(run, token, is_abort=True, error={"type": "AbortRun", "message": "no stock", "stack": ""})

    assert (run.state, (run.value.error or {})["reason"]) == ("dead_letter", "the task aborted the run")


def test_retry_after_sets_the_due_time() -> None:
    run, token = running()

    end(run, token, retry_after_seconds=1234.0)

    finished_at = run.attempts.get().finished_at
    assert run.due_at is not None
    assert finished_at is not None
    assert abs((run.due_at - finished_at).total_seconds() - 1234) < 1


def test_unknown_token_and_unknown_run_are_stale() -> None:
    run, _ = running()

    answers = fail_attempts([Finish(run.id, b"x" * 16, Outcome.FAILED), Finish(uuid4(), b"y" * 16, Outcome.FAILED)])

    assert answers == [Answer(is_stale=True, state="")] * 2
    run.refresh_from_db()
    assert run.state == "running"


def test_same_end_twice_in_a_batch_moves_once() -> None:
    run, token = running()
    version = run.version

    answers = fail_attempts([Finish(run.id, token, Outcome.FAILED)] * 2)

    run.refresh_from_db()
    assert [answer.state for answer in answers] == ["retrying", "retrying"]
    assert run.version == version + 1


@pytest.mark.parametrize("state", ["delayed", "pending", "retrying", "waiting"])
def test_run_that_waits_is_canceled_at_once(state: str) -> None:
    run = make_run(state=state)

    canceled = cancel(run.id)

    assert (canceled.state, canceled.due_at) == ("canceled", None)
    assert canceled.finished_at is not None


def test_running_run_is_asked_to_stop() -> None:
    run, token = running()

    asked = cancel(run.id)

    assert (asked.state, asked.is_cancel_requested) == ("running", True)
    assert end(run, token, Outcome.CANCELED).state == "canceled"


@pytest.mark.parametrize("state", sorted(FINAL_STATES - {RunState.CANCELED}))
def test_final_run_is_not_canceled(state: str) -> None:
    run = make_run(state=state)

    with pytest.raises(IllegalMove) as refused:
        cancel(run.id)

    assert refused.value.state == state
    assert Run.objects.get(id=run.id).version == run.version


def test_canceled_twice_is_canceled_once() -> None:
    run = make_run()
    version = cancel(run.id).version

    assert cancel(run.id).version == version


def test_unknown_run_is_not_found() -> None:
    with pytest.raises(RunNotFound):
        cancel(uuid4())
