"""What the timeline of a run is drawn from: its rows as plain times and spans. `timeline.py` has the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from apps.runs.badges import outcome_badge
from apps.runs.models import Attempt, Run
from apps.runs.run_page.failures import is_failure
from apps.runs.run_page.timeline import layout
from apps.runs.run_page.timeline_parts import Boundary, Course, StepSpan, Timeline, Try
from apps.runs.states import Outcome, RunState
from apps.storage.times import is_unreadable

STEP_KIND = "step"


@dataclass(frozen=True, slots=True)
class Saved:
    """A run's checkpoints, the steps that its attempts ran, and the key of what was saved last."""

    boundaries: Sequence[Boundary]
    steps: Sequence[StepSpan]
    last_key: str


def saved_by(run: Run) -> Saved:
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
    return Saved(boundaries, steps, last_key)


def timeline_of(run: Run, attempts: Sequence[Attempt], saved: Saved, *, is_to_scale: bool) -> Timeline:
    """As it is drawn now."""
    tries = [_try(attempt, run) for attempt in attempts]
    return layout(_course(run), tries, saved.boundaries, timezone.now(), steps=saved.steps, is_to_scale=is_to_scale)


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
        is_failure=is_failure(attempt.outcome),
        word=outcome_badge(attempt.outcome).word,
        tone=outcome_badge(attempt.outcome).tone,
    )
