"""What the run page shows, read in a fixed number of queries. Changes nothing; `timeline.py` has the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from apps.runs.badges import Badge, outcome_badge, state_badge
from apps.runs.fleet import fleet_reader
from apps.runs.models import Attempt, LogLine, Run, RunValue
from apps.runs.run_page.timeline import layout
from apps.runs.run_page.timeline_parts import Boundary, Course, StepSpan, Timeline, Try
from apps.runs.states import CANCELABLE_AT_ONCE, Outcome, RunState
from apps.runs.waiting import Reason, waiting_reason
from apps.storage.fields import UNREADABLE
from apps.storage.times import is_unreadable

REPLAYS_SHOWN = 5
STEP_KIND = "step"
LOG_LINES_SHOWN = 500
UNREADABLE_SHOWN = 500

QUIET_OUTCOMES = frozenset({Outcome.CANCELED, Outcome.SUSPENDED, Outcome.RELEASED})
"""Ends that are nobody's failure."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is shown; `reason` says why the run has no further attempt."""

    type: str
    message: str
    stack: str
    reason: str = ""

    @classmethod
    def of(cls, error: Any) -> Failure | None:
        """What is stored, an object or, where another version wrote it, whatever there is; None for nothing."""
        if error is None:
            return None
        if not isinstance(error, Mapping) or error == UNREADABLE:
            return cls("unreadable", str(error)[:UNREADABLE_SHOWN], "")
        return cls(*(str(error.get(name) or "") for name in ("type", "message", "stack", "reason")))


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """`is_requeued`: a person made the run pending again before it, with a fresh budget."""

    number: int
    badge: Badge
    version: str
    is_requeued: bool
    worker: str
    container: str
    start_kind: str
    resumed_from: str
    exit_code: int | None
    peak_memory_bytes: int | None
    seconds: float | None
    live_since: datetime | None
    started_at: datetime
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class ReplayLink:
    id: str
    badge: Badge
    origin: str


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The part of the page that follows the run; `replay_key` is where a replay of a failure most likely begins.

    `attempt_limit` counts on from the last requeue; `has_more_replays` says that `replays` are only the newest.
    """

    id: str
    task: str
    badge: Badge
    version: str
    queue: str
    priority: int
    attempt_count: int
    max_attempts: int
    attempt_limit: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    live_since: datetime | None
    is_cancelable: bool
    is_dead_letter: bool
    is_moving: bool
    reason: Reason | None
    note: str
    failure: Failure | None
    failure_badge: Badge
    attempts: Sequence[AttemptLine]
    timeline: Timeline
    replay_key: str
    replay_of: str
    replay_from: str
    replays: Sequence[ReplayLink]
    has_more_replays: bool
    row_version: int


def run_summary(run_id: UUID, *, is_to_scale: bool = False) -> RunSummary | None:
    """The run as it stands; None where there is none."""
    runs = Run.objects.select_related("deployment", "replay_of").defer("deployment__archive")
    run = runs.filter(id=run_id).first()
    if run is None:
        return None
    attempts = list(run.attempts.select_related("deployment").defer("deployment__archive").order_by("number"))
    boundaries, steps, last_key = _saved(run)
    replays = list(run.replays.order_by("-id").only("id", "state", "replay_from")[: REPLAYS_SHOWN + 1])
    error, note = RunValue.objects.filter(run_id=run_id).values_list("error", "note").first() or (None, "")
    failure = Failure.of(error)
    names = fleet_reader().names(attempt.worker_id for attempt in attempts)
    now = timezone.now()
    is_live = run.started_at is not None and run.finished_at is None
    return RunSummary(
        id=run.public_id,
        task=run.task_id,
        badge=state_badge(run.state),
        version=str(run.deployment) if run.deployment else "",
        queue=run.queue,
        priority=run.priority,
        attempt_count=run.attempt_count,
        max_attempts=run.max_attempts,
        attempt_limit=run.budget_base + run.max_attempts,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        seconds=_seconds(run.started_at, run.finished_at),
        live_since=run.started_at if is_live else None,
        is_cancelable=run.state in CANCELABLE_AT_ONCE
        or (run.state == RunState.RUNNING and not run.is_cancel_requested),
        is_dead_letter=run.state == RunState.DEAD_LETTER,
        is_moving=not run.is_final,
        reason=_reason(run),
        note=note,
        failure=failure,
        failure_badge=outcome_badge(_last_failed(attempts)),
        attempts=[_attempt_line(attempt, names, run.budget_base) for attempt in attempts],
        timeline=layout(
            _course(run),
            [_try(attempt, run) for attempt in attempts],
            boundaries,
            now,
            steps=steps,
            is_to_scale=is_to_scale,
        ),
        replay_key=last_key if failure else "",
        replay_of=run.replay_of.public_id if run.replay_of else "",
        replay_from=run.replay_from,
        replays=[
            ReplayLink(replay.public_id, state_badge(replay.state), replay.replay_from)
            for replay in replays[:REPLAYS_SHOWN]
        ],
        has_more_replays=len(replays) > REPLAYS_SHOWN,
        row_version=run.version,
    )


def _saved(run: Run) -> tuple[list[Boundary], list[StepSpan], str]:
    """The run's checkpoints, the steps that its attempts ran, and the key of what was saved last."""
    # Through the reverse relation: the model and its kinds live in an app above this one.
    rows = run.checkpoints.order_by("index").values_list(
        "key", "index", "attempt", "created_at", "duration_seconds", "kind"
    )
    boundaries: list[Boundary] = []
    steps: list[StepSpan] = []
    last_key = ""
    for key, index, attempt, at, seconds, kind in rows:
        last_key = key
        if kind != STEP_KIND:
            boundaries.append(Boundary(key, index, attempt, _drawn(at, run)))
        elif attempt and seconds is not None:
            steps.append(StepSpan(key, index, attempt, _drawn(at, run), seconds))
    return boundaries, steps, last_key


def _reason(run: Run) -> Reason | None:
    if run.state == RunState.RUNNING and run.is_cancel_requested:
        return Reason("canceling", "Cancellation was requested: the task has 10 s to clean up, then it is killed.")
    return waiting_reason(run.id, run.state)


def _course(run: Run) -> Course:
    is_due = run.state in (RunState.RETRYING, RunState.DELAYED)
    return Course(
        _begin_of(run),
        run.finished_at and _drawn(run.finished_at, run),
        due_at=_drawn(run.due_at, run) if is_due and run.due_at else None,
        requeued_after=run.budget_base,
    )


def _begin_of(run: Run) -> datetime:
    return timezone.now() if is_unreadable(run.created_at) else run.created_at


def _drawn(at: datetime, run: Run) -> datetime:
    """Where a time is drawn: at the beginning where it cannot be read, for it would stretch the axis over millennia."""
    return _begin_of(run) if is_unreadable(at) else at


def _try(attempt: Attempt, run: Run) -> Try:
    return Try(
        number=attempt.number,
        claimed_at=_drawn(attempt.claimed_at, run),
        started_at=attempt.started_at and _drawn(attempt.started_at, run),
        finished_at=attempt.finished_at and _drawn(attempt.finished_at, run),
        resumed_from=attempt.resumed_from,
        is_success=attempt.outcome == Outcome.COMPLETED,
        is_failure=_is_failure(attempt.outcome),
        word=outcome_badge(attempt.outcome).word,
        tone=outcome_badge(attempt.outcome).tone,
    )


def _attempt_line(attempt: Attempt, names: Mapping[UUID, str], budget_base: int) -> AttemptLine:
    begun = attempt.started_at or attempt.claimed_at
    return AttemptLine(
        number=attempt.number,
        badge=outcome_badge(attempt.outcome),
        version=f"v{attempt.deployment.version}" if attempt.deployment else "",
        is_requeued=0 < budget_base == attempt.number - 1,
        worker=names.get(attempt.worker_id, ""),
        container=attempt.container,
        start_kind=attempt.start_kind,
        resumed_from=attempt.resumed_from or "",
        exit_code=attempt.exit_code,
        peak_memory_bytes=attempt.peak_memory_bytes,
        seconds=_seconds(begun, attempt.finished_at),
        live_since=begun if attempt.finished_at is None else None,
        started_at=begun,
        failure=Failure.of(attempt.error),
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start is not None and end is not None else None


def _is_failure(outcome: str) -> bool:
    return outcome not in ("", Outcome.COMPLETED, *QUIET_OUTCOMES)


def _last_failed(attempts: Sequence[Attempt]) -> str:
    return next((a.outcome for a in reversed(attempts) if _is_failure(a.outcome)), Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines in the order that the task wrote them, and where the next ones begin."""

    lines: Sequence[LogLine]
    cursor: str
    has_earlier: bool


def log_page(run_id: UUID, after: tuple[int, int] | None) -> LogPage:
    """The newest lines, or those after (attempt, sequence)."""
    lines = LogLine.objects.filter(run_id=run_id)
    if after is None:
        newest = list(lines.order_by("-attempt", "-sequence")[: LOG_LINES_SHOWN + 1])
        shown = newest[:LOG_LINES_SHOWN][::-1]
        return LogPage(shown, _cursor(shown, (0, 0)), has_earlier=len(newest) > LOG_LINES_SHOWN)
    attempt, sequence = after
    later = lines.filter(attempt=attempt, sequence__gt=sequence) | lines.filter(attempt__gt=attempt)
    shown = list(later.order_by("attempt", "sequence")[:LOG_LINES_SHOWN])
    return LogPage(shown, _cursor(shown, after), has_earlier=False)


def _cursor(lines: Sequence[LogLine], default: tuple[int, int]) -> str:
    attempt, sequence = (lines[-1].attempt, lines[-1].sequence) if lines else default
    return f"{attempt}.{sequence}"


def read_cursor(text: str) -> tuple[int, int] | None:
    """`2.17` as (2, 17); None for anything else."""
    attempt, separator, sequence = text.partition(".")
    if not separator or not (attempt.isdecimal() and sequence.isdecimal()) or len(text) > 20:
        return None
    return int(attempt), int(sequence)
