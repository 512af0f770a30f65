"""What follows a failed attempt: pure arithmetic over plain values, no rows and no clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trigger_sdk.options import backoff_seconds

from apps.runs.states import BUDGET_OUTCOMES, KILL_OUTCOMES, Outcome, RunState

POISON_KILL_COUNT = 3
START_FAILURE_LIMIT = 8
"""In a row. With the waits between them, a node has 16 minutes to become able to start the task."""

START_FAILURE_DELAY_SECONDS = (1.0, 600.0)
"""First and longest wait after a container failed to start."""
START_FAILURE_FACTOR = 3

COOLING_FROM = 10
"""A task cools down once this many runs have failed in a row (contract, section 5)."""

COOLING_LONGEST_SECONDS = 300
COOLING_PROBE_SECONDS = 60
"""A run that is tried while its task cools down holds back the next one for this long, or for the interval if that is
longer: a run that takes hours says nothing about the others."""

COOLING_RUNS_KEPT = 20
"""More failing runs than this do not make the interval longer."""

RETRY_AFTER_MAX_SECONDS = 366 * 86_400.0
"""With a longer delay the due time might be out of bounds, and the attempt's end could not be stored."""


@dataclass(frozen=True, slots=True)
class RetryCurve:
    """The curve of a task's `Retry` option, in seconds."""

    initial: float = 5.0
    factor: float = 4.0
    max: float = 3600.0

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "RetryCurve":
        retry = options.get("retry") or {}
        return cls(**{name: float(retry[name]) for name in ("initial", "factor", "max") if name in retry})

    def delay_seconds(self, failure_count: int, jitter: float) -> float:
        """The wait after the n-th counted failure; `jitter` is a number from [0, 1)."""
        return backoff_seconds(failure_count, jitter, initial=self.initial, factor=self.factor, longest=self.max)


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt that did not complete, with the counts that decide what follows; each count includes this attempt."""

    outcome: Outcome
    budget_count: int
    kill_count: int
    start_failure_count: int
    max_attempts: int
    curve: RetryCurve
    retry_after_seconds: float | None = None
    is_abort: bool = False
    is_cancel_requested: bool = False


@dataclass(frozen=True, slots=True)
class Move:
    """The run's next state; `reason` says why it is a dead letter."""

    state: RunState
    delay_seconds: float | None = None
    reason: str = ""


def next_move(ended: EndedAttempt, jitter: float) -> Move:
    """Where the run goes after this attempt (contract, section 5)."""
    if ended.is_cancel_requested or ended.outcome is Outcome.CANCELED:
        return Move(RunState.CANCELED)
    if ended.is_abort:
        return Move(RunState.DEAD_LETTER, reason="the task aborted the run")
    if ended.outcome in KILL_OUTCOMES and ended.kill_count >= POISON_KILL_COUNT:
        return Move(
            RunState.DEAD_LETTER, reason=f"poison run: killed {ended.kill_count} times without a new checkpoint"
        )
    if ended.outcome in BUDGET_OUTCOMES:
        return _spend_budget(ended, jitter)
    if ended.outcome is Outcome.START_FAILED:
        if ended.start_failure_count >= START_FAILURE_LIMIT:
            return Move(RunState.DEAD_LETTER, reason=f"failed to start {ended.start_failure_count} times in a row")
        first, longest = START_FAILURE_DELAY_SECONDS
        return Move(RunState.RETRYING, min(longest, first * START_FAILURE_FACTOR ** (ended.start_failure_count - 1)))
    return Move(RunState.PENDING)


def _spend_budget(ended: EndedAttempt, jitter: float) -> Move:
    if ended.budget_count >= ended.max_attempts:
        return Move(RunState.DEAD_LETTER, reason=f"all {ended.max_attempts} attempts are used")
    if ended.retry_after_seconds is not None:
        return Move(RunState.RETRYING, min(RETRY_AFTER_MAX_SECONDS, max(0.0, ended.retry_after_seconds)))
    delay_seconds = ended.curve.delay_seconds(ended.budget_count, jitter)
    return Move(RunState.RETRYING, min(RETRY_AFTER_MAX_SECONDS, delay_seconds))
