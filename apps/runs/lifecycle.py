"""The verbs that move a run: trigger (in `trigger/create.py`), start, complete, fail, cancel, expire. Claiming is in
`queues`, leases are in `workers`.

Each move is one conditional UPDATE that names the state it expects; the loser of a race changes nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from psycopg import AsyncConnection

from apps.live.notify import announce, announce_now, announce_runs
from apps.live.topics import TASKS
from apps.protocol import Finish, Start
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.logs import storable_error
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
from apps.runs.trigger.create import trigger as trigger
from apps.runs.trigger.create import trigger_batch as trigger_batch
from apps.storage.statements import bytes_array, statement, uuid_array

EXPIRE_LIMIT = 1000

EXPIRE_RUNS = statement(__file__, "expire_runs")
LOCK_ATTEMPTS = statement(__file__, "lock_attempts")
FAIL_ATTEMPTS = statement(__file__, "fail_attempts")
COMPLETE_ATTEMPTS = statement(__file__, "complete_attempts")
START_ATTEMPTS = statement(__file__, "start_attempts")
NOTE_FAILURES = statement(__file__, "note_failures")


def cancel(run_id: UUID) -> Run:
    """Cancels a waiting run at once; asks the worker of a running one to stop it. Asking twice changes nothing.

    Raises RunNotFound, and IllegalMove if the run is already final.
    """
    with transaction.atomic():
        # Locked first: between two unlocked updates a failing run could slip from "running" to "retrying" unseen.
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
class Answer:
    """What the sender of an attempt's start or end is told; the same for every repeat of the same token."""

    is_stale: bool = False
    state: str = ""
    """The run's state after the attempt's end."""
    is_held: bool = False
    """Another transaction holds the run or its task's control: nothing was done, ask again."""


HELD = Answer(is_held=True)
STALE = Answer(is_stale=True)
STARTED = Answer()
COMPLETED = Answer(state=RunState.COMPLETED.value)


async def start_attempts(
    database: AsyncConnection[Any], starts: Sequence[Start], *, waits: bool = False
) -> list[Answer]:
    """Records that the processes of attempts began, in one transaction; one answer per item, in order."""
    rows = await START_ATTEMPTS.run_on(
        database,
        waits=waits,
        run_ids=uuid_array(item.run_id for item in starts),
        tokens=bytes_array(item.token for item in starts),
        containers=[item.container for item in starts],
        start_kinds=[item.start_kind for item in starts],
        resumed_froms=[item.resumed_from for item in starts],
        running_seconds=[item.running_seconds for item in starts],
    )
    return [HELD if row.is_held else STALE if row.is_stale else STARTED for row in rows]


async def complete_attempts(
    database: AsyncConnection[Any], finishes: Sequence[Finish], *, waits: bool = False
) -> list[Answer]:
    """Completes runs and their attempts, in one transaction; one answer per item, in order.

    Rows that others hold are answered as held, unless it `waits` for them.
    """
    rows = await COMPLETE_ATTEMPTS.run_on(
        database,
        waits=waits,
        run_ids=uuid_array(item.run_id for item in finishes),
        tokens=bytes_array(item.token for item in finishes),
        outputs=[(item.output or b"null").decode() for item in finishes],
        containers=[item.container for item in finishes],
        start_kinds=[item.start_kind for item in finishes],
        resumed_froms=[item.resumed_from for item in finishes],
        running_seconds=[item.running_seconds or 0.0 for item in finishes],
        peak_memory_bytes=[item.peak_memory_bytes for item in finishes],
    )
    announce_now(TASKS, rows[0].recovered or () if rows else ())
    return [_stale_completion(row) if row.is_stale else COMPLETED for row in rows]


def _stale_completion(row: Any) -> Answer:
    if row.outcome == Outcome.COMPLETED:
        return COMPLETED
    # Stale and not ended: it waited for another transaction to end it and read the attempt as it was before, so it must
    # ask again.
    return HELD if row.is_held or row.outcome == "" else STALE


def fail_attempts(ends: Sequence[Finish], *, waits: bool = True) -> list[Answer]:
    """Ends attempts that did not complete, and moves their runs by the outcome; one answer per item, in order.

    A stale token changes nothing; a token whose attempt has ended gets the same answer as then. It waits for rows that
    others hold, at most as long as `lock_timeout` allows; without `waits` their items are answered as held.
    """
    with transaction.atomic():
        locked = {(row.run_id, row.token): row for row in _lock(ends, waits=waits)}
        moves: dict[tuple[UUID, bytes], tuple[Finish, Move]] = {}
        for end in ends:
            row = locked.get((end.run_id, end.token))
            if row is not None and row.is_live and not row.is_held:
                moves.setdefault((end.run_id, end.token), (end, _next_move(end, row)))
        if moves:
            _write_moves(moves.values())
            _note_failures([(locked[key].task_id, key[0]) for key, (end, _) in moves.items() if _is_failure(end)])
            is_pending = any(move.state is RunState.PENDING for _, move in moves.values())
            announce_runs([run_id for run_id, _ in moves], is_pending=is_pending)
    return [_answer(end, locked, moves) for end in ends]


def _lock(ends: Sequence[Finish], *, waits: bool) -> list[Any]:
    lock = LOCK_ATTEMPTS.run_waiting if waits else LOCK_ATTEMPTS.run
    parameters = {
        "run_ids": [end.run_id for end in ends],
        "tokens": [end.token for end in ends],
        "are_failures": [_is_failure(end) for end in ends],
    }
    rows = lock(**parameters)
    # After waiting for a lock the run is read as it is and its attempt as it was: a second look sees both as they are.
    is_outdated = any(not row.is_live and not row.outcome and not row.is_held for row in rows)
    return lock(**parameters) if is_outdated else rows


def _is_failure(end: Finish) -> bool:
    """Whether the task's own code failed."""
    return end.outcome in BUDGET_OUTCOMES


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


def _next_move(end: Finish, row: Any) -> Move:
    ended = EndedAttempt(
        outcome=Outcome(end.outcome),
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


def _write_moves(moves: Iterable[tuple[Finish, Move]]) -> None:
    from psycopg.types.json import Json

    FAIL_ATTEMPTS.run(rows=Json([_row_of(end, move) for end, move in moves]))


def _row_of(end: Finish, move: Move) -> dict[str, Any]:
    error = None if end.error is None else storable_error(end.error)
    return {
        "run_id": str(end.run_id),
        "token": end.token.hex(),
        "outcome": end.outcome,
        "state": move.state.value,
        "delay_seconds": move.delay_seconds,
        "error": _error_of(end, move, error),
        "attempt_error": error,
        "container": end.container,
        "start_kind": end.start_kind,
        "resumed_from": end.resumed_from,
        "running_seconds": end.running_seconds,
        "exit_code": end.exit_code,
        "peak_memory_bytes": end.peak_memory_bytes,
    }


def _error_of(end: Finish, move: Move, error: dict[str, str] | None) -> dict[str, str] | None:
    """The run's error after this attempt; a dead letter always has one that says why."""
    if error is not None:
        return {**error, "reason": move.reason} if move.reason else error
    if move.state is RunState.DEAD_LETTER:
        return {"type": end.outcome, "message": move.reason, "stack": "", "reason": move.reason}
    return None


def _answer(
    end: Finish,
    locked: Mapping[tuple[UUID, bytes], Any],
    moves: Mapping[tuple[UUID, bytes], tuple[Finish, Move]],
) -> Answer:
    key = (end.run_id, end.token)
    if key in moves:
        return Answer(state=moves[key][1].state.value)
    row = locked.get(key)
    if row is not None and row.is_held and not row.outcome:
        return HELD
    if row is not None and row.outcome == end.outcome and row.answer is not None:
        return Answer(state=json.loads(row.answer)["state"])
    return STALE
