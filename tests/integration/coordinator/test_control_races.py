"""What people set by hand while claims are under way."""

import threading
from typing import Any

import psycopg
import pytest
from django.db import connection

from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.runs.models import TaskControl
from apps.storage.ids import uuid7
from tests.coordinator_harness import until
from tests.factories import make_task


@pytest.mark.parametrize("verb", ["set_queue", "set_task", "lift_cooldown"])
def test_change_waits_for_a_claim_that_is_under_way(committed: str, verb: str) -> None:
    """What was counted under the lock must not change before that claim has written what it counted for."""
    make_task("noop")
    TaskControl.objects.create(task_id="noop", failing_runs=[uuid7()])
    calls: dict[str, Any] = {
        "set_queue": lambda: set_queue("noop", max_concurrency=1),
        "set_task": lambda: set_task("noop", max_concurrency=1),
        "lift_cooldown": lambda: lift_cooldown("noop"),
    }
    done: list[str] = []

    def change() -> None:
        try:
            calls[verb]()
            done.append(verb)
        finally:
            connection.close()

    with psycopg.connect(committed) as claim, psycopg.connect(committed, autocommit=True) as watcher:
        claim.execute("SELECT pg_advisory_xact_lock(8000001)")
        thread = threading.Thread(target=change)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: watcher.execute(waiting).fetchone() == (1,), "the change waits")
        assert done == []
        claim.rollback()
        thread.join(20)
    assert done == [verb]
