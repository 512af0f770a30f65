"""The verbs that move a run: trigger, complete, fail, cancel. Claiming is in `queues`, leases are in `workers`.

Each move is one conditional UPDATE that names the state it expects; a loser of a race changes nothing.
"""

from __future__ import annotations

import difflib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from apps.runs.broadcast import announce_runs
from apps.runs.errors import FieldError, IllegalMove, OptionInvalid, RunNotFound, TaskNotFound, TaskRetired
from apps.runs.models import (
    CONCURRENCY_KEY_MAX_LENGTH,
    MAX_ATTEMPTS_LIMIT,
    PRIORITY_RANGE,
    QUEUE_MAX_LENGTH,
    Run,
    RunValue,
    Task,
)
from apps.runs.payloads import encode_payload, validate_payload
from apps.runs.retry import (
    COOLING_FROM,
    COOLING_LONGEST_SECONDS,
    COOLING_RUNS_KEPT,
    EndedAttempt,
    Move,
    RetryCurve,
    next_move,
)
from apps.runs.statements import statement
from apps.runs.states import BUDGET_OUTCOMES, CANCELABLE_AT_ONCE, Outcome, RunState

DEFAULT_MAX_ATTEMPTS = 3
NEAR_MISSES_SHOWN = 3

TASK_TERMS = statement(__file__, "task_terms")
INSERT_RUNS = statement(__file__, "insert_runs")
LOCK_ATTEMPTS = statement(__file__, "lock_attempts")
FAIL_ATTEMPTS = statement(__file__, "fail_attempts")
COMPLETE_ATTEMPTS = statement(__file__, "complete_attempts")
START_ATTEMPTS = statement(__file__, "start_attempts")
NOTE_FAILURES = statement(__file__, "note_failures")


def trigger(
    task: str,
    payload: Any = None,
    *,
    queue: str = "",
    priority: int = 0,
    concurrency_key: str = "",
    max_attempts: int | None = None,
) -> Run:
    """A new pending run of the task, committed before this returns.

    Raises TaskNotFound (naming near misses), TaskRetired, PayloadInvalid, PayloadTooLarge and OptionInvalid.
    """
    terms = task_terms(task)
    payload_json = encode_payload(payload)
    validate_payload(payload, terms.payload_schema)
    run = Run(
        task_id=task,
        queue=_short_text("queue", queue or terms.options.get("queue") or task, QUEUE_MAX_LENGTH),
        priority=_within("priority", priority, *PRIORITY_RANGE),
        concurrency_key=_short_text("concurrency_key", concurrency_key, CONCURRENCY_KEY_MAX_LENGTH),
        max_attempts=_max_attempts(max_attempts, terms.options),
    )
    rows = INSERT_RUNS.run(
        ids=[run.id],
        task_ids=[run.task_id],
        queues=[run.queue],
        priorities=[run.priority],
        concurrency_keys=[run.concurrency_key],
        max_attempts=[run.max_attempts],
        payloads=[payload_json],
    )
    run.created_at = rows[0].created_at
    run.value = RunValue(run=run, payload=payload_json)
    run._state.adding = False  # noqa: SLF001 - as after a save
    announce_runs([run.id], is_pending=True)
    return run


@dataclass(frozen=True, slots=True)
class TaskTerms:
    """A task's options, and its payload schema as JSON text."""

    options: Mapping[str, Any]
    payload_schema: str


def task_terms(task_id: str) -> TaskTerms:
    """The task as its newest deployment declares it; raises TaskNotFound or TaskRetired."""
    rows = TASK_TERMS.run(task_id=task_id) if "\x00" not in task_id else []
    if not rows:
        refuse_unknown_task(task_id)
    if rows[0].is_retired:
        raise TaskRetired(f"The task {task_id!r} is not in the newest deployment of its task set.")
    return TaskTerms(json.loads(rows[0].options), rows[0].payload_schema)


def refuse_unknown_task(task_id: str) -> NoReturn:
    """Raises TaskNotFound with the ids that look alike."""
    known = Task.objects.filter(is_retired=False).values_list("id", flat=True)
    near = difflib.get_close_matches(task_id, known, n=NEAR_MISSES_SHOWN)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise TaskNotFound(f"There is no task {task_id!r}.{hint}")


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
        raise IllegalMove(f"A {RunState(run.state).label} run cannot be canceled.", run.state)
    return run


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


def fail_attempts(ends: Sequence[AttemptEnd]) -> list[Answer]:
    """Ends attempts that did not complete and moves their runs on; one answer per item, in order.

    A stale token changes nothing; a token whose attempt has ended gets the answer that it got then.
    """
    with transaction.atomic():
        locked = {(row.run_id, row.token): row for row in _lock(ends)}
        moves: dict[tuple[UUID, bytes], tuple[AttemptEnd, Move]] = {}
        for end in ends:
            row = locked.get((end.run_id, end.token))
            if row is not None and row.is_live:
                moves.setdefault((end.run_id, end.token), (end, _next_move(end, row)))
        if moves:
            _write_moves(moves.values())
            _note_failures([(locked[key].task_id, key[0]) for key, (end, _) in moves.items() if end.is_failure])
            is_pending = any(move.state is RunState.PENDING for _, move in moves.values())
            announce_runs([run_id for run_id, _ in moves], is_pending=is_pending)
    return [_answer(end, locked, moves) for end in ends]


def _lock(ends: Sequence[AttemptEnd]) -> list[Any]:
    parameters = {"run_ids": [end.run_id for end in ends], "tokens": [end.token for end in ends]}
    rows = LOCK_ATTEMPTS.run(**parameters)
    # Who waited for a lock reads the run as it is and its attempt as it was: a second look sees both as they are.
    return LOCK_ATTEMPTS.run(**parameters) if any(not row.is_live and not row.outcome for row in rows) else rows


def _note_failures(failures: Sequence[tuple[str, UUID]]) -> None:
    if failures:
        NOTE_FAILURES.run(
            task_ids=[task_id for task_id, _ in failures],
            run_ids=[run_id for _, run_id in failures],
            cooling_from=COOLING_FROM,
            runs_kept=COOLING_RUNS_KEPT,
            longest_seconds=COOLING_LONGEST_SECONDS,
        )


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
    if row is not None and row.outcome == end.outcome.value and row.answer is not None:
        return Answer(is_stale=False, state=json.loads(row.answer)["state"])
    return Answer(is_stale=True, state="")


def _within(option: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        _refuse_option(option, f"must be from {low} to {high}, not {value}")
    return value


def _short_text(option: str, text: str, limit: int) -> str:
    if len(text) > limit:
        _refuse_option(option, f"may have {limit} characters, not {len(text)}")
    if "\x00" in text:
        _refuse_option(option, "contains NUL")
    return text


def _max_attempts(asked: int | None, options: Mapping[str, Any]) -> int:
    if asked is None:
        return int((options.get("retry") or {}).get("max_attempts", DEFAULT_MAX_ATTEMPTS))
    return _within("max_attempts", asked, 1, MAX_ATTEMPTS_LIMIT)


def _refuse_option(option: str, message: str) -> NoReturn:
    path = f"options.{option}"
    raise OptionInvalid(f"{path} {message}", (FieldError(path, message),))
