"""Verbs of what people set by hand: limits, rates and pauses of queues and tasks, and the end of a cool-down.

Each takes the claim's lock before it writes: a claim that is under way ends under the old terms, the next one sees the
new ones. And each takes its row before that lock: whoever waited for a row while holding the lock would stop all
claims.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from django.db import transaction

from apps.queues.claims import LOCK_CLAIMS
from apps.queues.limits import QUEUE_FIELDS, TASK_FIELDS, check_queue_name, checked
from apps.queues.models import Queue
from apps.runs.broadcast import announce_runs
from apps.runs.lifecycle import refuse_unknown_task
from apps.runs.models import Task, TaskControl


class QueueChanges(TypedDict, total=False):
    """What is left out stays; None takes a limit away."""

    is_paused: bool
    max_concurrency: int | None
    rate_limit: str | None
    max_depth: int | None


class TaskChanges(TypedDict, total=False):
    """What is left out stays; None goes back to what the newest deployment declares."""

    is_paused: bool
    max_concurrency: int | None
    max_concurrency_total: int | None
    rate_limit: str | None
    rate_limit_per_key: str | None


def set_queue(name: str, **changes: Unpack[QueueChanges]) -> Queue:
    """Changes what is set for the queue, which need not have been used yet; raises LimitInvalid."""
    check_queue_name(name)
    columns = checked(changes, QUEUE_FIELDS)
    with transaction.atomic():
        # A trigger that counts the queue's depth may hold the row for as long as its caller likes.
        Queue.objects.bulk_create([Queue(name=name)], ignore_conflicts=True)
        Queue.objects.select_for_update(no_key=True).get(name=name)
        LOCK_CLAIMS.run()
        Queue.objects.filter(name=name).update(**columns)
        announce_runs([], is_pending=True)
    return Queue.objects.get(name=name)


def set_task(task_id: str, **changes: Unpack[TaskChanges]) -> TaskControl:
    """Changes what is set for the task, retired or not; raises TaskNotFound (naming near misses) and LimitInvalid."""
    columns = checked(changes, TASK_FIELDS)
    with transaction.atomic():
        _require_task(task_id)
        TaskControl.objects.bulk_create([TaskControl(task_id=task_id)], ignore_conflicts=True)
        TaskControl.objects.select_for_update(no_key=True).get(task_id=task_id)
        LOCK_CLAIMS.run()
        TaskControl.objects.filter(task_id=task_id).update(**columns)
        announce_runs([], is_pending=True)
    return TaskControl.objects.get(task_id=task_id)


def lift_cooldown(task_id: str) -> bool:
    """Forgets the failures that the task is slowed down for; false where there were none, and nothing has changed.

    Raises TaskNotFound. Failures that are being written meanwhile count anew.
    """
    with transaction.atomic():
        _require_task(task_id)
        TaskControl.objects.select_for_update(no_key=True).filter(task_id=task_id).first()
        LOCK_CLAIMS.run()
        failing = TaskControl.objects.filter(task_id=task_id).exclude(failing_runs=[])
        is_lifted = failing.update(failing_runs=[], cooling_until=None) > 0
        if is_lifted:
            announce_runs([], is_pending=True)
    return is_lifted


def _require_task(task_id: str) -> None:
    if "\x00" in task_id or not Task.objects.filter(id=task_id).exists():
        refuse_unknown_task(task_id)
