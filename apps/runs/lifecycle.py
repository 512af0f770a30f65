"""The verbs that move a run: trigger (in `triggering.py`), fail, cancel, expire. Claiming is in `queues`, leases are in
`workers`.

Each move is one conditional UPDATE that names the state it expects; a loser of a race changes nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps.live.notify import announce, announce_runs
from apps.live.topics import TASKS
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.models import Run
from apps.runs.retry import (
    COOLING_FROM,
    COOLING_LONGEST_SECONDS,
    COOLING_RUNS_KEPT,
    EndedAttempt,
    Move,
    RetryCurve,
    next_move,
)
from apps.runs.states import BUDGET_OUTCOMES, CANCELABLE_AT_ONCE, Outcome, RunState, state_words
from apps.runs.tasks.terms import refuse_unknown_task as refuse_unknown_task
from apps.runs.trigger.verbs import trigger as trigger
from apps.runs.trigger.verbs import trigger_batch as trigger_batch
from apps.storage.statements import statement

EXPIRE_LIMIT = 1000

EXPIRE_RUNS = statement(__file__, "expire_runs")
LOCK_ATTEMPTS = statement(__file__, "lock_attempts")
FAIL_ATTEMPTS = statement(__file__, "fail_attempts")
COMPLETE_ATTEMPTS = statement(__file__, "complete_attempts")
START_ATTEMPTS = statement(__file__, "start_attempts")
NOTE_FAILURES = statement(__file__, "note_failures")


def cancel(run_id: UUID) -> Run:
    """Cancels a run that waits at once; asks the worker of a running one to stop it. Asking twice changes nothing.

    Raises RunNotFound, and IllegalMove where the run is final already.
    """
    with transaction.atomic():
        # Locked first: between two unlocked updates a failing run would slip from "running" to "retrying" unseen.
        Run.objects.select_for_update(no_key=True).filter(id=run_id).first()
        canceled = Run.objects.filter(id=run_id, state__in=CANCELABLE_AT_ONCE).update(
            state=RunState.CANCELED, finished_at=Now(), due_at=None, version=F("version") + 1
        )
        asked = not canceled and Run.objects.filter(id=run_id, state=RunState.RUNNING).update(
            is_cancel_requested=True, version=F("version") + 1
        )
        if canceled or asked:
            announce_runs([run_id], is_cancel=bool(asked))
    run = Run.objects.filter(id=run_id).first()
    if run is None:
        raise RunNotFound("There is no such run.")
    if not canceled and not asked and run.state != RunState.CANCELED:
        raise IllegalMove(f"A {state_words(run.state)} run cannot be canceled.", run.state)
    return run


def expire_runs(*, limit: int = EXPIRE_LIMIT) -> list[UUID]:
    """Ends runs that have not started within their time to live; returns their ids."""
    with transaction.atomic():
        expired = [row.id for row in EXPIRE_RUNS.run(limit=limit)]
        if expired:
            announce_runs(expired)
    return expired


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """How an attempt that did not complete ended, as its worker or the lease keeper tells it."""

    run_id: UUID
    token: bytes
    outcome: Outcome
    error: dict[str, Any] | None = None
    retry_after_seconds: float | None = None
    is_abort: bool = False
    start: Mapping[str, Any] = field(default_factory=dict)
    """container, start_kind, resumed_from, running_seconds, exit_code, peak_memory_bytes: what is known of it."""

    @property
    def is_failure(self) -> bool:
        """Whether the task's own code is what did not succeed."""
        return self.outcome in BUDGET_OUTCOMES


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender of an attempt's end is told; the same for each repeat of the same token."""

    is_stale: bool
    state: str
    is_held: bool = False
    """Another transaction holds the run or the control of its task: nothing was done, ask again."""


HELD_ANSWER = Answer(is_stale=False, state="", is_held=True)


def fail_attempts(ends: Sequence[AttemptEnd], *, waits: bool = True) -> list[Answer]:
    """Ends attempts that did not complete and moves their runs on; one answer per item, in order.

    A stale token changes nothing; a token whose attempt has ended gets the answer that it got then. Rows that others
    hold are waited for, at most as long as `lock_timeout` allows; without `waits` their items are answered as held.
    """
    with transaction.atomic():
        locked = {(row.run_id, row.token): row for row in _lock(ends, waits=waits)}
        moves: dict[tuple[UUID, bytes], tuple[AttemptEnd, Move]] = {}
        for end in ends:
            row = locked.get((end.run_id, end.token))
            if row is not None and row.is_live and not row.is_held:
                moves.setdefault((end.run_id, end.token), (end, _next_move(end, row)))
        if moves:
            _write_moves(moves.values())
            _note_failures([(locked[key].task_id, key[0]) for key, (end, _) in moves.items() if end.is_failure])
            is_pending = any(move.state is RunState.PENDING for _, move in moves.values())
            announce_runs([run_id for run_id, _ in moves], is_pending=is_pending)
    return [_answer(end, locked, moves) for end in ends]


def _lock(ends: Sequence[AttemptEnd], *, waits: bool) -> list[Any]:
    lock = LOCK_ATTEMPTS.run_waiting if waits else LOCK_ATTEMPTS.run
    parameters = {
        "run_ids": [end.run_id for end in ends],
        "tokens": [end.token for end in ends],
        "are_failures": [end.is_failure for end in ends],
    }
    rows = lock(**parameters)
    # Who waited for a lock reads the run as it is and its attempt as it was: a second look sees both as they are.
    is_outdated = any(not row.is_live and not row.outcome and not row.is_held for row in rows)
    return lock(**parameters) if is_outdated else rows


def _note_failures(failures: Sequence[tuple[str, UUID]]) -> None:
    if failures:
        NOTE_FAILURES.run(
            task_ids=[task_id for task_id, _ in failures],
            run_ids=[run_id for _, run_id in failures],
            cooling_from=COOLING_FROM,
            runs_kept=COOLING_RUNS_KEPT,
            longest_seconds=COOLING_LONGEST_SECONDS,
        )
        announce(TASKS, {task_id for task_id, _ in failures})


def _next_move(end: AttemptEnd, row: Any) -> Move:
    ended = EndedAttempt(
        outcome=end.outcome,
        budget_count=row.budget_count + 1,
        kill_count=row.kill_count + 1,
        start_failure_count=row.start_failure_count + 1,
        max_attempts=row.max_attempts,
        curve=RetryCurve.from_options(json.loads(row.options or "{}")),
        retry_after_seconds=end.retry_after_seconds,
        is_abort=end.is_abort,
        is_cancel_requested=row.is_cancel_requested,
    )
    return next_move(ended, random.random())  # noqa: S311 - jitter, not a secret


def _write_moves(moves: Iterable[tuple[AttemptEnd, Move]]) -> None:
    from psycopg.types.json import Json

    rows = [
        {
            "run_id": str(end.run_id),
            "token": end.token.hex(),
            "outcome": end.outcome.value,
            "state": move.state.value,
            "delay_seconds": move.delay_seconds,
            "error": _error_of(end, move),
            "attempt_error": end.error,
            **{name: end.start.get(name) for name in ATTEMPT_FACTS},
        }
        for end, move in moves
    ]
    FAIL_ATTEMPTS.run(rows=Json(rows))


ATTEMPT_FACTS = ("container", "start_kind", "resumed_from", "running_seconds", "exit_code", "peak_memory_bytes")


def _error_of(end: AttemptEnd, move: Move) -> dict[str, Any] | None:
    """The run's error after this attempt; a dead letter always has one that says why."""
    if end.error is not None:
        return {**end.error, "reason": move.reason} if move.reason else end.error
    if move.state is RunState.DEAD_LETTER:
        return {"type": end.outcome.value, "message": move.reason, "stack": "", "reason": move.reason}
    return None


def _answer(
    end: AttemptEnd,
    locked: Mapping[tuple[UUID, bytes], Any],
    moves: Mapping[tuple[UUID, bytes], tuple[AttemptEnd, Move]],
) -> Answer:
    key = (end.run_id, end.token)
    if key in moves:
        return Answer(is_stale=False, state=moves[key][1].state.value)
    row = locked.get(key)
    if row is not None and row.is_held and not row.outcome:
        return HELD_ANSWER
    if row is not None and row.outcome == end.outcome.value and row.answer is not None:
        return Answer(is_stale=False, state=json.loads(row.answer)["state"])
    return Answer(is_stale=True, state="")
