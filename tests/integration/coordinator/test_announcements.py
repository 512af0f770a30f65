"""Who changes what a page shows announces it, on the real channels; what happens all the time nobody announces."""

import time
from collections.abc import Callable, Iterator
from uuid import UUID

import psycopg
import pytest

from apps import protocol as wire
from apps.access.permissions import Actor
from apps.live.notify import announce_now
from apps.live.topics import QUEUES, RUNS, TASKS, TOPIC_KINDS, WORKERS, Topic
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.runs.lifecycle import fail_attempts, trigger
from apps.runs.tasks.deployments import register
from tests.coordinator_harness import DEADLINE_SECONDS, Coordinator, until
from tests.factories import make_task
from tests.integration.coordinator.due_claims import claim_rows
from tests.integration.coordinator.test_suspicions import break_poll

TASK = "noop"
ERROR = {"type": "E", "message": "down", "stack": ""}
MARKER = QUEUES.topic("marker")


class Listener:
    """Hears what is announced on the tests' database, in order."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._kinds = {kind.channel: kind.one for kind in TOPIC_KINDS.values()}
        for channel in self._kinds:
            connection.execute(f"LISTEN {channel}".encode())

    def until_marker(self) -> list[Topic]:
        """All that was announced before this call."""
        announce_now(QUEUES, ["marker"])
        heard: list[Topic] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        while MARKER not in heard:
            assert time.monotonic() < deadline, heard
            for notice in self._connection.notifies(timeout=0.1):
                heard += [Topic(self._kinds[notice.channel], key) for key in notice.payload.split(",")]
        return [topic for topic in heard if topic != MARKER]


@pytest.fixture
def listener(committed: str) -> Iterator[Listener]:
    with psycopg.connect(committed, autocommit=True) as connection:
        found = Listener(connection)
        found.until_marker()
        yield found


def deploy(*task_ids: str) -> None:
    tasks = [
        {"id": each, "options": {}, "payload_schema": {}, "resume_points": [], "file": "tasks.py", "line": 1}
        for each in task_ids
    ]
    manifest = {"name": "orders", "tasks": tasks, "errors": []}
    register(task_set="orders", archive=repr(task_ids).encode(), manifest=manifest, actor=Actor.of_console("test"))


def fail_one() -> None:
    trigger(TASK, {})
    (row,) = claim_rows(1)
    fail_attempts([wire.Finish(row.run_id, bytes(row.token), "failed", error=ERROR)])


def complete_one(coordinator: Coordinator) -> None:
    trigger(TASK, {})
    (row,) = claim_rows(1)
    coordinator.finish(wire.Finish(row.run_id, bytes(row.token), "completed", output=b"null"))


@pytest.mark.parametrize(
    ("change", "topic"),
    [
        (lambda: set_queue("mail, bulk", max_concurrency=7), QUEUES.topic("mail, bulk")),
        (lambda: set_task(TASK, is_paused=True), TASKS.topic(TASK)),
        (fail_one, TASKS.topic(TASK)),
        (lambda: deploy("added"), TASKS.topic("added")),
    ],
)
def test_what_people_and_failures_change_is_announced(
    coordinator: Coordinator, listener: Listener, change: Callable[[], None], topic: Topic
) -> None:
    make_task(TASK, options={"retry": {"max_attempts": 1}})

    change()

    assert topic in listener.until_marker()


def test_retired_tasks_are_announced(listener: Listener) -> None:
    deploy("kept", "dropped")
    listener.until_marker()

    deploy("kept")

    assert set(listener.until_marker()) == {TASKS.topic("kept"), TASKS.topic("dropped")}


def test_the_end_of_a_cool_down_is_announced_once(coordinator: Coordinator, listener: Listener) -> None:
    make_task(TASK, options={"retry": {"max_attempts": 1}})
    fail_one()
    listener.until_marker()

    complete_one(coordinator)
    first = listener.until_marker()
    complete_one(coordinator)
    second = listener.until_marker()

    assert TASKS.topic(TASK) in first
    assert {topic.kind for topic in second} == {RUNS.one}


def test_a_lifted_cool_down_is_announced(coordinator: Coordinator, listener: Listener) -> None:
    make_task(TASK, options={"retry": {"max_attempts": 1}})
    fail_one()
    listener.until_marker()

    lift_cooldown(TASK)

    assert listener.until_marker() == [TASKS.topic(TASK)]


def test_worker_is_announced_when_it_comes_and_goes_and_not_when_it_beats(
    coordinator: Coordinator, listener: Listener
) -> None:
    worker_id = coordinator.register()
    assert listener.until_marker() == [WORKERS.topic(worker_id)]

    coordinator.beat(worker_id)
    assert listener.until_marker() == []

    coordinator.beat(worker_id, is_stopping=True)
    assert listener.until_marker() == [WORKERS.topic(worker_id)]


@pytest.mark.parametrize("contact", ["beat", "poll"])
def test_suspicion_and_its_end_are_announced(
    coordinator: Coordinator, worker_id: UUID, listener: Listener, contact: str
) -> None:
    topic = WORKERS.topic(worker_id)

    break_poll(coordinator, worker_id)
    until(lambda: topic in listener.until_marker(), "its suspicion is announced")

    if contact == "beat":
        coordinator.beat(worker_id)
    else:
        coordinator.poll(worker_id)
    until(lambda: topic in listener.until_marker(), "the end of its suspicion is announced")
