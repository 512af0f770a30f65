"""`python -m benchmarks.orm_side single|batch|pickup COUNT`: prints a Django process's timings of its verbs, as JSON.

Runs as a separate process: each site has another database, and Django knows only one.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import django

PAUSE_SECONDS = (0.02, 0.06)
WAIT_SECONDS = 30.0
BATCH_ITEMS = 1000
WARM_UP = 20


def payload_of(number: int) -> dict[str, object]:
    """For the task `order` of `triggering.py`."""
    return {"order_id": f"A{number:06}", "quantity": number % 7 + 1, "is_express": number % 2 == 0}


def single(count: int) -> list[float]:
    """Returns the milliseconds of each `trigger()`, committed."""
    from apps.runs.lifecycle import trigger

    measured = []
    for number in range(count + WARM_UP):
        began_at = time.perf_counter()
        trigger("order", payload_of(number))
        measured.append((time.perf_counter() - began_at) * 1000)
    return measured[WARM_UP:]


def batch(count: int) -> list[float]:
    """Returns the seconds of each batch of a thousand, committed."""
    from apps.runs.lifecycle import trigger_batch

    measured = []
    for _ in range(count + 1):
        items = [{"task": "order", "payload": payload_of(number)} for number in range(BATCH_ITEMS)]
        began_at = time.perf_counter()
        trigger_batch(items)
        measured.append(time.perf_counter() - began_at)
    return measured[1:]


def pickup(count: int) -> list[float]:
    """Returns the milliseconds from each trigger's commit to its claim, by the database's clock.

    The time of the commit is read right after it, so it is late by one round trip on a local socket.
    """
    from django.db import connection

    from apps.runs.lifecycle import trigger

    measured = []
    for _ in range(count + WARM_UP):
        time.sleep(random.uniform(*PAUSE_SECONDS))  # a random phase relative to anything that polls
        run = trigger("noop")
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            committed_at = cursor.fetchone()[0]
        measured.append((_claimed_at(run.id) - committed_at).total_seconds() * 1000)
    return measured[WARM_UP:]


def _claimed_at(run_id: UUID) -> datetime:
    """Returns when its first attempt was claimed; waits until the run is completed, so that the site is idle again."""
    from apps.runs.models import Attempt, Run

    deadline = time.monotonic() + WAIT_SECONDS
    while not Run.objects.filter(id=run_id, state="completed").exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run_id} did not complete")
        time.sleep(0.005)
    return Attempt.objects.get(run_id=run_id, number=1).claimed_at


MEASURES: dict[str, Callable[[int], list[float]]] = {"single": single, "batch": batch, "pickup": pickup}


def main(name: str, count: int) -> None:
    django.setup()
    measured = MEASURES[name](count)
    from apps.live.notify import notifier

    notifier().flush()
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
