"""No lease ends because somebody holds what its renewal needs, and a sweep passes over what is held."""

from uuid import UUID

import pytest

from apps import protocol as wire
from apps.runs.lifecycle import cancel, trigger
from apps.runs.models import Attempt, Run
from apps.workers import leases
from apps.workers.models import Worker
from tests.coordinator_harness import Clock, Coordinator, run_of, start_of
from tests.factories import make_task
from tests.integration.coordinator.held_rows.held import OF_RUN, holding, lease_of


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


def test_worker_rows_know_no_floor_unless_something_was_held(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, lease_of(claim))

    assert Worker.objects.get().leases_until is None
