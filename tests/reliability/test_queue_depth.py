"""A queue's `max_depth` holds exactly, whatever callers do at once, and a batch is enqueued whole or not at all."""

import random
import threading

import pytest
from django.db import connection, transaction

from apps.queues.errors import QueueFull
from apps.queues.models import Queue
from apps.runs.lifecycle import cancel, trigger, trigger_batch
from apps.runs.models import Run
from apps.runs.states import RunState
from tests.callers import at_once, own_connection
from tests.factories import make_task

CALLER_COUNT = 16
MAX_DEPTH = 25
WAITING = (RunState.PENDING, RunState.DELAYED)


def fill(seed: int) -> int:
    """One caller: single runs and batches, pending and delayed, until it was refused ten times; how many it made."""
    chance = random.Random(seed)
    made = refused = 0
    while refused < 10:
        size = chance.choice([1, 1, 2, 3, 7])
        items = [
            {"task": "process-order", "options": {"queue": "narrow", "delay": chance.choice([0, 600])}}
            for _ in range(size)
        ]
        try:
            with transaction.atomic():
                made += len(trigger_batch(items)) if size > 1 else bool(trigger("process-order", **items[0]["options"]))
        except QueueFull:
            refused += 1
        if chance.random() < 0.2 and (run := Run.objects.filter(state__in=WAITING).order_by("?").first()):
            cancel(run.id)
    return made


def test_no_caller_gets_beyond_the_depth(committed: str) -> None:
    make_task()
    Queue.objects.create(name="narrow", max_depth=MAX_DEPTH)
    deepest: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        with own_connection():
            while not is_over.is_set():
                deepest.append(Run.objects.filter(queue="narrow", state__in=WAITING).count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        made = at_once(CALLER_COUNT, fill)
    finally:
        is_over.set()
        watcher.join()

    assert max(deepest) <= MAX_DEPTH
    assert Run.objects.count() == sum(made)
    room = MAX_DEPTH - Run.objects.filter(state__in=WAITING).count()  # what was canceled last
    for _ in range(room):
        trigger("process-order", queue="narrow")
    with pytest.raises(QueueFull):
        trigger("process-order", queue="narrow")
    print(f"{len(deepest):,} looks, {sum(made)} runs made, at most {max(deepest)} waiting")


@pytest.mark.parametrize("is_in_transaction", [False, True])
def test_simultaneous_triggers_fill_the_queue_exactly(committed: str, is_in_transaction: bool) -> None:
    make_task()
    Queue.objects.create(name="process-order", max_depth=5)

    def trigger_once(number: int) -> bool:
        try:
            if is_in_transaction:
                with transaction.atomic():
                    trigger("process-order")
            else:
                trigger("process-order")
        except QueueFull:
            return False
        return True

    assert sum(at_once(CALLER_COUNT, trigger_once)) == 5
    assert Run.objects.count() == 5


def test_without_the_lock_the_same_callers_get_beyond(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker can see what it is to see: it fails where the limit is counted before the lock is held."""
    from apps.queues import admission

    make_task()
    Queue.objects.create(name="process-order", max_depth=5)
    meeting = threading.Barrier(CALLER_COUNT)
    monkeypatch.setattr(admission, "LOCK_DEPTHS", admission.BOUNDED_QUEUES)
    count = admission.QUEUE_DEPTHS.run

    def count_together(**parameters: object) -> object:
        found = count(**parameters)
        meeting.wait(30)
        return found

    monkeypatch.setattr(admission.QUEUE_DEPTHS, "run", count_together)

    at_once(CALLER_COUNT, lambda number: trigger("process-order"))

    assert Run.objects.count() == CALLER_COUNT
    assert connection.in_atomic_block is False
