"""Claims and verbs do not wait for what others hold, beyond what they need themselves."""

import threading
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError

from apps import protocol as wire
from apps.queues.controls import set_task
from apps.runs.lifecycle import cancel, trigger
from apps.runs.models import Attempt, Run, Task, TaskControl
from apps.storage.ids import uuid7
from apps.storage.statements import is_held
from tests.coordinator_harness import (
    Coordinator,
    a_coordinator,
    answer,
    run_of,
)
from tests.factories import make_task
from tests.integration.coordinator.held_rows.held import OF_RUN, holding


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1 FROM queues_ratelimit FOR UPDATE",
        "SELECT 1 FROM runs_taskcontrol FOR UPDATE",
        "LOCK TABLE queues_ratelimit IN SHARE MODE",
        "LOCK TABLE runs_taskcontrol IN SHARE MODE",
        "SELECT 1 FROM runs_task FOR UPDATE",
        "SELECT 1 FROM queues_queue FOR UPDATE",
    ],
)
def test_claims_of_other_tasks_go_on(committed: str, coordinator: Coordinator, worker_id: UUID, text: str) -> None:
    """A task with a rate, and one that cools down, cannot be written down for; one without either can be claimed."""
    make_task("rated", options={"rate_limit": "1000/s"})
    make_task("cooling")
    make_task("plain")
    TaskControl.objects.create(task_id="cooling", failing_runs=[uuid7() for _ in range(12)])
    trigger("rated")
    coordinator.claim(worker_id, 1)
    for _ in range(5):
        for task in ("rated", "cooling", "plain"):
            trigger(task)

    with holding(committed, text):
        found: list[str] = []
        while found.count("plain") < 5:
            found += [claim.task for claim in coordinator.claim(worker_id, 1)]

    while Run.objects.filter(state="pending", task_id="rated").exists():
        coordinator.claim(worker_id, 20)


def test_change_that_waits_for_its_row_holds_up_no_claim(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    make_task("changed")
    make_task("plain")
    TaskControl.objects.create(task_id="changed")
    outcome: list[bool] = []

    def change() -> None:
        try:
            set_task("changed", max_concurrency=3)
        except OperationalError as error:
            outcome.append(is_held(error))
        finally:
            from django.db import connection

            connection.close()

    with holding(committed, "SELECT 1 FROM runs_taskcontrol FOR UPDATE"):
        thread = threading.Thread(target=change)
        thread.start()
        while thread.is_alive():
            trigger("plain")
            assert [claim.task for claim in coordinator.claim(worker_id, 1)] == ["plain"]
        thread.join()

    assert outcome == [True]
    assert TaskControl.objects.get(task_id="changed").max_concurrency is None


def test_poll_that_is_sent_twice_at_once_claims_once(committed: str, coordinator: Coordinator, worker_id: UUID) -> None:
    make_task()
    poll_id = uuid4()
    with a_coordinator(committed) as other:
        other.dispatch()
        polls = [at.poll(worker_id, 2, poll_id) for at in (coordinator, other)]
        for _ in range(4):
            trigger("process-order", {"order_id": "A1"})
        for each in (coordinator, other):
            each.loop.call_soon_threadsafe(each.dispatcher.wake)
        replies = [answer(poll, wire.PollReply).claims for poll in polls]

    assert Run.objects.filter(state="running").count() == Attempt.objects.count() <= 2
    claimed = {claim.token for reply in replies for claim in reply}
    assert claimed == {bytes(token) for token in Attempt.objects.values_list("token", flat=True)}


def test_cancel_of_a_held_run_gives_up_and_changes_nothing(
    committed: str, coordinator: Coordinator, claim: wire.Claim
) -> None:
    with holding(committed, OF_RUN["run"], run=claim.run_id), pytest.raises(OperationalError) as refused:
        cancel(claim.run_id)

    assert is_held(refused.value)
    assert not run_of(claim).is_cancel_requested


def test_trigger_waits_only_for_its_own_task(committed: str) -> None:
    make_task("held")
    make_task("free")

    with holding(committed, "SELECT 1 FROM runs_task WHERE id = 'held' FOR UPDATE"):
        trigger("free")
        with pytest.raises(OperationalError) as refused:
            trigger("held")

    assert is_held(refused.value)
    assert list(Run.objects.values_list("task_id", flat=True)) == ["free"]
    assert Task.objects.count() == 2
