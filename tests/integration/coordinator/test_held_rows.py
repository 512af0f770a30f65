"""One held row stops one run: what others hold is left out, answered 503 and written later; nothing waits behind it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import OperationalError

from apps import protocol as wire
from apps.queues.controls import set_task
from apps.runs.lifecycle import cancel, trigger
from apps.runs.models import Attempt, Run, Task, TaskControl
from apps.storage.ids import uuid7
from apps.storage.statements import is_held
from apps.workers import leases
from apps.workers.models import Worker
from tests.coordinator_harness import (
    Clock,
    Coordinator,
    a_coordinator,
    again,
    answer,
    checkpoint_of,
    claimed_run,
    finish_of,
    log_of,
    run_of,
    start_of,
)
from tests.factories import make_task
from trigger_site.coordinator.database import PATIENCE_SECONDS

OF_RUN = {
    "run": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR UPDATE",
    "attempt": "SELECT 1 FROM runs_attempt WHERE run_id = %(run)s FOR UPDATE",
    "values": "SELECT 1 FROM runs_value WHERE run_id = %(run)s FOR UPDATE",
    "shared": "SELECT 1 FROM runs_run WHERE id = %(run)s FOR SHARE",
}
KINDS: dict[str, Callable[[Coordinator, wire.Claim, wire.Claim], list[wire.Result]]] = {
    "start": lambda at, one, two: at.starts(start_of(one), start_of(two)),
    "save": lambda at, one, two: at.save(checkpoint_of(one), checkpoint_of(two)),
    "log": lambda at, one, two: at.log(log_of(one), log_of(two)),
    "complete": lambda at, one, two: at.finish(finish_of(one), finish_of(two)),
    "fail": lambda at, one, two: at.finish(finish_of(one, "failed"), finish_of(two, "failed")),
    "both": lambda at, one, two: at.finish(finish_of(one), finish_of(two, "failed")),
}


@contextmanager
def holding(url: str, text: str, **parameters: object) -> Iterator[None]:
    """An idle session that holds what the statement locks until the block ends."""
    with psycopg.connect(url) as session:
        session.execute(text, parameters)
        yield
        session.rollback()


@pytest.fixture
def coordinator(committed: str) -> Iterator[Coordinator]:
    """As in production: patient for a moment only."""
    with a_coordinator(committed, patience_seconds=PATIENCE_SECONDS) as coordinator:
        coordinator.dispatch()
        yield coordinator


@pytest.fixture
def neighbour(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> wire.Claim:
    return claimed_run(coordinator, worker_id)


@pytest.fixture(autouse=True)
def _pulse(committed: str) -> None:
    leases.stamp_pulse()


def statuses(results: list[wire.Result]) -> list[int]:
    return [result.status for result in results]


# Writes.


@pytest.mark.parametrize("held", OF_RUN)
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_of_a_held_run_are_written_at_once(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, kind: str, held: str
) -> None:
    with holding(committed, OF_RUN[held], run=claim.run_id):
        meanwhile = statuses(KINDS[kind](coordinator, claim, neighbour))
    afterwards = statuses(KINDS[kind](coordinator, claim, neighbour))

    assert meanwhile[1] == 200
    assert meanwhile[0] in (200, 503)
    assert afterwards == [200, 200]


@pytest.mark.parametrize("kind", ["start", "save", "complete", "fail"])
def test_held_run_is_busy_and_nothing_of_it_is_written(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, kind: str
) -> None:
    with holding(committed, OF_RUN["run"], run=claim.run_id):
        result, _ = KINDS[kind](coordinator, claim, neighbour)

        assert (result.status, result.code) == (503, "busy")
        assert run_of(claim).state == "running"
        assert Attempt.objects.get(run_id=claim.run_id).outcome == ""


def test_log_lines_do_not_wait_for_their_run(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    with holding(committed, OF_RUN["run"], run=claim.run_id):
        assert statuses(coordinator.log(log_of(claim))) == [200]


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_held_control_keeps_only_the_runs_of_its_task_waiting(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, outcome: str
) -> None:
    make_task("other")
    trigger("other")
    (other,) = coordinator.claim(worker_id, 1)
    TaskControl.objects.create(task_id="process-order", failing_runs=[uuid7()])

    with holding(committed, "SELECT 1 FROM runs_taskcontrol FOR UPDATE"):
        held, free = coordinator.finish(finish_of(claim, outcome), finish_of(other, outcome))

    assert (held.status, held.code, free.status) == (503, "busy", 200)
    assert coordinator.finish(finish_of(claim, outcome))[0].status == 200


def test_completions_of_tasks_that_do_not_fail_need_no_lock_on_the_controls(
    committed: str, coordinator: Coordinator, claim: wire.Claim
) -> None:
    """As while an index is built on their table."""
    with holding(committed, "LOCK TABLE runs_taskcontrol IN SHARE MODE"):
        assert statuses(coordinator.finish(finish_of(claim))) == [200]


@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("runs_run", "complete"),
        ("runs_run", "fail"),
        ("runs_attempt", "start"),
        ("runs_value", "complete"),
        ("runs_value", "fail"),
        ("checkpoints_checkpoint", "save"),
        ("runs_logline", "log"),
    ],
)
def test_held_table_is_busy_and_not_an_error(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, table: str, mode: str, kind: str
) -> None:
    with holding(committed, f"LOCK TABLE {table} IN {mode} MODE"):
        meanwhile = KINDS[kind](coordinator, claim, neighbour)
    afterwards = KINDS[kind](coordinator, claim, neighbour)

    assert [(result.status, result.code) for result in meanwhile] == [(503, "busy")] * 2
    assert statuses(afterwards) == [200, 200]


# Leases.


@pytest.mark.parametrize("held", ["run", "shared"])
def test_lease_of_a_held_run_lasts_and_the_others_are_renewed(
    committed: str,
    clock: Clock,
    coordinator: Coordinator,
    worker_id: UUID,
    claim: wire.Claim,
    neighbour: wire.Claim,
    held: str,
) -> None:
    before = run_of(neighbour).lease_end

    with holding(committed, OF_RUN[held], run=claim.run_id):
        reply = coordinator.beat(worker_id, lease_of(claim), lease_of(neighbour))

    assert reply.stale == []
    assert run_of(neighbour).lease_end > before  # type: ignore[operator]
    assert set(Attempt.objects.values_list("is_confirmed", flat=True)) == {True}
    clock.advance_beating(50)
    assert leases.expire_leases() == []
    clock.advance_beating(11)
    assert set(leases.expire_leases()) == {claim.run_id, neighbour.run_id}


@pytest.mark.parametrize("mode", ["SHARE", "ACCESS EXCLUSIVE"])
@pytest.mark.parametrize("table", ["runs_run", "runs_attempt", "workers_worker"])
def test_no_lease_ends_because_a_table_was_held(
    committed: str,
    clock: Clock,
    coordinator: Coordinator,
    worker_id: UUID,
    claim: wire.Claim,
    neighbour: wire.Claim,
    table: str,
    mode: str,
) -> None:
    with holding(committed, f"LOCK TABLE {table} IN {mode} MODE"):
        reply = coordinator.beat(worker_id, lease_of(claim), lease_of(neighbour))
    clock.advance_beating(50)

    assert reply.stale == []
    assert leases.expire_leases() == []


def test_lease_lasts_where_the_row_of_the_worker_is_held_as_well(
    committed: str, clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    with (
        holding(committed, OF_RUN["run"], run=claim.run_id),
        holding(committed, "SELECT 1 FROM workers_worker FOR UPDATE"),
    ):
        reply = coordinator.beat(worker_id, lease_of(claim))
    clock.advance_beating(50)

    assert reply.stale == []
    assert leases.expire_leases() == []


def test_stale_lease_is_told_beside_a_held_one(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, neighbour: wire.Claim
) -> None:
    gone = wire.Lease(neighbour.run_id, b"x" * 16)

    with holding(committed, OF_RUN["run"], run=claim.run_id):
        reply = coordinator.beat(worker_id, lease_of(claim), gone)

    assert reply.stale == [neighbour.run_id]


def test_cancel_reaches_a_held_run_by_the_heartbeat(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    cancel(claim.run_id)

    with holding(committed, OF_RUN["run"], run=claim.run_id):
        assert coordinator.beat(worker_id, lease_of(claim)).cancels == [claim.run_id]


@pytest.mark.parametrize("text", ["SELECT 1 FROM workers_worker FOR UPDATE", "LOCK TABLE workers_worker IN SHARE MODE"])
def test_worker_whose_row_is_held_gets_runs(
    committed: str, coordinator: Coordinator, worker_id: UUID, text: str
) -> None:
    make_task()
    run = trigger("process-order", {"order_id": "A1"})

    with holding(committed, text):
        (claim,) = coordinator.claim(worker_id, 1)

    assert claim.run_id == run.id


@pytest.mark.parametrize("held", ["run", "attempt", "values"])
def test_sweep_ends_the_leases_beside_a_held_row(
    committed: str, coordinator: Coordinator, claim: wire.Claim, neighbour: wire.Claim, held: str
) -> None:
    for each in (claim, neighbour):
        coordinator.starts(start_of(each))
    Run.objects.update(lease_end="2000-01-01T00:00:00Z")

    with holding(committed, OF_RUN[held], run=claim.run_id):
        leases.expire_leases()
        meanwhile = (run_of(claim).state, run_of(neighbour).state)
    leases.expire_leases()

    assert meanwhile == ("running", "pending")
    assert (run_of(claim).state, run_of(neighbour).state) == ("pending", "pending")


# What may have begun.


def test_claim_of_a_worker_that_is_gone_may_have_begun(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    """Its process died at once: whether the claim reached it, and what it did, nobody can say any more."""
    coordinator.run(coordinator.database.run(lambda c: leases.suspect(c, worker_id=worker_id)))
    clock.advance_beating(6)

    leases.expire_leases()

    assert Attempt.objects.get().outcome == "lost"


def test_run_that_kills_its_worker_at_once_is_poison(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    for _ in range(3):
        coordinator.run(coordinator.database.run(partial(leases.suspect, worker_id=worker_id)))
        clock.advance_beating(6)
        leases.expire_leases()
        worker_id = coordinator.register()
        if run_of(claim).state == "pending":
            coordinator.claim(worker_id, 1)

    run = run_of(claim)
    assert (run.state, run.attempt_count) == ("dead_letter", 3)
    assert list(Attempt.objects.order_by("number").values_list("outcome", flat=True)) == ["lost"] * 3


def test_claim_of_a_worker_that_stopped_on_purpose_is_released(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, is_stopping=True)

    leases.expire_leases()

    assert Attempt.objects.get().outcome == "released"


def test_claim_that_a_living_worker_never_confirms_is_released(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    again(coordinator, worker_id, claim)

    assert Attempt.objects.get(number=1).outcome == "released"


# Claims.


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


# Verbs.


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


def lease_of(claim: wire.Claim) -> wire.Lease:
    return wire.Lease(claim.run_id, claim.token)


def test_worker_rows_know_no_floor_unless_something_was_held(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, lease_of(claim))

    assert Worker.objects.get().leases_until is None
