import pytest

from apps.runs.retry import (
    POISON_KILL_COUNT,
    RETRY_AFTER_MAX_SECONDS,
    START_FAILURE_LIMIT,
    EndedAttempt,
    Move,
    RetryCurve,
    next_move,
)
from apps.runs.states import BUDGET_OUTCOMES, Outcome, RunState


def ended(outcome: Outcome, **overrides: object) -> EndedAttempt:
    fields: dict[str, object] = {
        "budget_count": 1, "kill_count": 1, "start_failure_count": 1, "max_attempts": 3, "curve": RetryCurve(),
    }  # fmt: skip
    return EndedAttempt(outcome, **{**fields, **overrides})  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "full"), [(1, 5), (2, 20), (3, 80), (5, 1280), (6, 3600), (250, 3600)])
def test_delay_grows_by_the_factor_up_to_the_maximum(count: int, full: float) -> None:
    curve = RetryCurve()

    assert curve.delay_seconds(count, 0.0) == full / 2
    assert full / 2 < curve.delay_seconds(count, 0.999) < full
    assert curve.delay_seconds(count, 0.5) == full * 0.75


def test_steepest_curve_does_not_overflow() -> None:
    assert RetryCurve(initial=2_592_000, factor=1_000, max=2_592_000).delay_seconds(250, 0.0) == 1_296_000


def test_curve_is_read_from_the_tasks_options() -> None:
    assert RetryCurve.from_options({"retry": {"initial": 1, "max": 9, "max_attempts": 2}}) == RetryCurve(1, 4, 9)
    assert RetryCurve.from_options({}) == RetryCurve(5, 4, 3600)


@pytest.mark.parametrize("outcome", sorted(BUDGET_OUTCOMES))
def test_budget_is_spent_by_the_codes_own_faults(outcome: Outcome) -> None:
    assert next_move(ended(outcome, budget_count=2), 0.0).state is RunState.RETRYING
    assert next_move(ended(outcome, budget_count=3), 0.0).state is RunState.DEAD_LETTER


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.RELEASED, Outcome.SUSPENDED])
def test_platforms_faults_burn_no_budget(outcome: Outcome) -> None:
    assert next_move(ended(outcome, budget_count=99), 0.0) == Move(RunState.PENDING)


def test_budget_outcomes_are_the_contracts() -> None:
    assert {"failed", "timed_out", "out_of_memory", "crashed"} == BUDGET_OUTCOMES


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.LOST])
def test_third_kill_is_a_dead_letter_whatever_the_budget(outcome: Outcome) -> None:
    below = next_move(ended(outcome, kill_count=POISON_KILL_COUNT - 1, max_attempts=250), 0.0)
    at = next_move(ended(outcome, kill_count=POISON_KILL_COUNT, max_attempts=250), 0.0)

    assert below.state in (RunState.RETRYING, RunState.PENDING)
    assert (at.state, "poison" in at.reason) == (RunState.DEAD_LETTER, True)


def test_failures_are_no_kills() -> None:
    assert next_move(ended(Outcome.FAILED, kill_count=9), 0.0).state is RunState.RETRYING


@pytest.mark.parametrize(("count", "delay"), [(1, 1), (2, 3), (5, 81), (6, 243), (7, 600)])
def test_failed_start_is_tried_again_later_and_later(count: int, delay: float) -> None:
    assert next_move(ended(Outcome.START_FAILED, start_failure_count=count), 0.0) == Move(RunState.RETRYING, delay)


def test_eighth_failed_start_is_a_dead_letter() -> None:
    move = next_move(ended(Outcome.START_FAILED, start_failure_count=START_FAILURE_LIMIT), 0.0)

    assert (move.state, move.reason) == (RunState.DEAD_LETTER, "failed to start 8 times in a row")


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.COMPLETED])
def test_requested_cancel_beats_every_outcome(outcome: Outcome) -> None:
    assert next_move(ended(outcome, is_cancel_requested=True, is_abort=True), 0.0) == Move(RunState.CANCELED)


def test_abort_leaves_no_more_attempts() -> None:
    move = next_move(ended(Outcome.FAILED, is_abort=True, retry_after_seconds=5.0), 0.0)

    assert (move.state, move.reason) == (RunState.DEAD_LETTER, "the task aborted the run")


@pytest.mark.parametrize(("asked", "delay"), [(7.5, 7.5), (0.0, 0.0), (-1.0, 0.0), (1e300, 366 * 86_400.0)])
def test_task_says_when_it_is_tried_again(asked: float, delay: float) -> None:
    assert next_move(ended(Outcome.FAILED, retry_after_seconds=asked), 0.9) == Move(RunState.RETRYING, delay)


def test_retry_after_buys_no_attempt() -> None:
    move = next_move(ended(Outcome.FAILED, budget_count=3, retry_after_seconds=1.0), 0.0)

    assert move.state is RunState.DEAD_LETTER


def test_delay_of_any_curve_stays_within_what_can_be_stored() -> None:
    move = next_move(ended(Outcome.FAILED, curve=RetryCurve(initial=1e15, max=1e15)), 0.5)

    assert move == Move(RunState.RETRYING, RETRY_AFTER_MAX_SECONDS)
