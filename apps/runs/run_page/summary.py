"""What the run page shows, read in a fixed number of queries. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.runs.badges import Badge, outcome_badge, state_badge
from apps.runs.fleet import fleet_reader
from apps.runs.models import Run, RunValue
from apps.runs.reads import find_run
from apps.runs.run_page.attempts import AttemptLine, attempt_line
from apps.runs.run_page.course import saved_by, timeline_of
from apps.runs.run_page.failures import Failure, last_failed
from apps.runs.run_page.timeline_parts import Timeline
from apps.runs.states import CANCELABLE_AT_ONCE, RunState
from apps.runs.waiting import Reason, waiting_reason

REPLAYS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class ReplayLink:
    id: str
    badge: Badge
    origin: str

    @classmethod
    def of(cls, replay: Run) -> ReplayLink:
        return cls(replay.public_id, state_badge(replay.state), replay.replay_from)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The part of the page that follows the run; `replay_key` is where a replay of a failure most likely begins.

    `attempt_limit` includes the attempts before the last requeue and the `excused_count` since then that did not
    count; `has_more_replays` says that `replays` are only the newest.
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
    excused_count: int
    is_requeued: bool
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

    @property
    def attempt_note(self) -> str:
        """Why the limit is not the task's own."""
        since = " since it was requeued" if self.is_requeued else ""
        others = f"; {self.excused_count} did not count" if self.excused_count else ""
        return f"{self.max_attempts} that count{since}{others}"


def run_summary(run_id: UUID, *, is_to_scale: bool = False) -> RunSummary:
    """The run as it is now; raises RunNotFound."""
    run = find_run(run_id, Run.objects.select_related("deployment", "replay_of").defer("deployment__archive"))
    attempts = list(run.attempts.select_related("deployment").defer("deployment__archive").order_by("number"))
    saved = saved_by(run)
    replays = list(run.replays.order_by("-id").only("id", "state", "replay_from")[: REPLAYS_SHOWN + 1])
    error, note = RunValue.objects.filter(run_id=run_id).values_list("error", "note").first() or (None, "")
    failure = Failure.of(error)
    names = fleet_reader().names(attempt.worker_id for attempt in attempts)
    return RunSummary(
        id=run.public_id,
        task=run.task_id,
        badge=state_badge(run.state),
        version=str(run.deployment) if run.deployment else "",
        queue=run.queue,
        priority=run.priority,
        attempt_count=run.attempt_count,
        max_attempts=run.max_attempts,
        attempt_limit=run.attempt_limit,
        excused_count=run.excused_count,
        is_requeued=run.budget_base > 0,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        seconds=run.seconds,
        live_since=run.live_since,
        is_cancelable=_is_cancelable(run),
        is_dead_letter=run.state == RunState.DEAD_LETTER,
        is_moving=not run.is_final,
        reason=_reason(run),
        note=note,
        failure=failure,
        failure_badge=outcome_badge(last_failed(attempts)),
        attempts=[attempt_line(attempt, names, run.budget_base) for attempt in attempts],
        timeline=timeline_of(run, attempts, saved, is_to_scale=is_to_scale),
        replay_key=saved.last_key if failure else "",
        replay_of=run.replay_of.public_id if run.replay_of else "",
        replay_from=run.replay_from,
        replays=[ReplayLink.of(replay) for replay in replays[:REPLAYS_SHOWN]],
        has_more_replays=len(replays) > REPLAYS_SHOWN,
        row_version=run.version,
    )


def _is_cancelable(run: Run) -> bool:
    return run.state in CANCELABLE_AT_ONCE or (run.state == RunState.RUNNING and not run.is_cancel_requested)


def _reason(run: Run) -> Reason | None:
    if run.state == RunState.RUNNING and run.is_cancel_requested:
        return Reason("canceling", "Cancellation was requested: the task has 10 s to clean up, then it is killed.")
    return waiting_reason(run.id, run.state)
