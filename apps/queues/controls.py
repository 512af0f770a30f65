"""Verbs for manual settings: limits, rates and pauses of queues and tasks, and the end of a cool-down.

Each takes the claim's lock before it writes: a claim in progress ends under the old terms, the next one sees the new
ones. Nobody waits for a row while holding that lock, which would stop all claims: if the row is held, the lock is
released, the row is waited for, and both are tried again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet

from apps.live.notify import announce, announce_runs
from apps.live.topics import QUEUES, TASKS
from apps.queues.claim.claimer import LOCK_CLAIMS
from apps.queues.limits import QUEUE_FIELDS, TASK_FIELDS, check_queue_name, checked
from apps.queues.lines import require_queue
from apps.queues.models import Queue
from apps.runs.lifecycle import refuse_unknown_task
from apps.runs.models import Task, TaskControl
from apps.storage.statements import is_held

TRIES = 5
HOLD_MS = 20
"""How long all claims may wait for a row that a trigger or a failing run of the same task is writing."""

COOLDOWN_LIFTED: dict[str, Any] = {"failing_runs": [], "cooling_until": None}


class QueueChanges(TypedDict, total=False):
    """What is left out stays; None removes a limit."""

    is_paused: bool
    max_concurrency: int | None
    rate_limit: str | None
    max_depth: int | None


class TaskChanges(TypedDict, total=False):
    """What is left out stays; None reverts to what the newest deployment declares."""

    is_paused: bool
    max_concurrency: int | None
    max_concurrency_total: int | None
    rate_limit: str | None
    rate_limit_per_key: str | None


def set_queue(name: str, **changes: Unpack[QueueChanges]) -> Queue:
    """Changes the settings of the queue; raises LimitInvalid.

    Limits may be set before the queue's first use. A pause alone may not, because a misspelled name would stop nothing:
    QueueNotFound names near misses.
    """
    check_queue_name(name)
    columns = checked(changes, QUEUE_FIELDS)
    with transaction.atomic():
        if set(changes) == {"is_paused"}:
            require_queue(name)
        Queue.objects.bulk_create([Queue(name=name)], ignore_conflicts=True)
        _change(Queue.objects.filter(name=name), columns)
        announce(QUEUES, [name])
        announce_runs([], is_pending=True)
    return Queue.objects.get(name=name)


def set_task(task_id: str, **changes: Unpack[TaskChanges]) -> TaskControl:
    """Changes the settings of the task, retired or not; raises TaskNotFound (naming near misses) and LimitInvalid."""
    columns = checked(changes, TASK_FIELDS)
    with transaction.atomic():
        _require_task(task_id)
        TaskControl.objects.bulk_create([TaskControl(task_id=task_id)], ignore_conflicts=True)
        _change(TaskControl.objects.filter(task_id=task_id), columns)
        announce(TASKS, [task_id])
        announce_runs([], is_pending=True)
    return TaskControl.objects.get(task_id=task_id)


def lift_cooldown(task_id: str) -> bool:
    """Forgets the failures that slow the task down; false if there were none and nothing has changed.

    Raises TaskNotFound. Failures written meanwhile start a new count.
    """
    with transaction.atomic():
        _require_task(task_id)
        failing = TaskControl.objects.filter(task_id=task_id).exclude(failing_runs=[])
        is_lifted = _change(failing, COOLDOWN_LIFTED) > 0
        if is_lifted:
            announce(TASKS, [task_id])
            announce_runs([], is_pending=True)
    return is_lifted


def _require_task(task_id: str) -> None:
    if "\x00" in task_id or not Task.objects.filter(id=task_id).exists():
        refuse_unknown_task(task_id)


def _change(rows: QuerySet[Any], columns: Mapping[str, Any]) -> int:
    """Updates the row under the claim's lock; returns how many there were. Raises OperationalError if somebody holds
    the row for longer than `lock_timeout`."""
    for attempt in range(1, TRIES + 1):
        try:
            return _change_at_once(rows, columns)
        except OperationalError as error:
            if not is_held(error) or attempt == TRIES:
                raise
        with transaction.atomic():
            rows.select_for_update(no_key=True).first()
            transaction.set_rollback(True)  # the row that was waited for is released again
    raise AssertionError("the loop returns or raises")


def _change_at_once(rows: QuerySet[Any], columns: Mapping[str, Any]) -> int:
    with transaction.atomic():
        LOCK_CLAIMS.run()
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = {HOLD_MS}")
            count = rows.update(**columns)
            cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
    return count
