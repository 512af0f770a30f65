"""Leases that end, with the database's clock moved instead of waiting."""

from uuid import UUID

import pytest
from django.db import connection

from apps import protocol as wire
from apps.runs.models import Attempt, Run
from apps.workers import leases, ticks
from apps.workers.models import Pulse, Worker
from tests.coordinator_harness import Clock, Coordinator, again, checkpoint_of, claimed_run, finish_of, run_of, start_of


@pytest.fixture(autouse=True)
def _pulse(committed: str) -> None:
    leases.stamp_pulse()


def test_unconfirmed_claim_is_released_after_twenty_seconds(
    clock: Clock, coordinator: Coordinator, claim: wire.Claim
) -> None:
    clock.advance_beating(19)
    early = leases.expire_leases()
    clock.advance_beating(2)
    ended = leases.expire_leases()

    assert (early, ended) == ([], [claim.run_id])
    assert run_of(claim).state == "pending"
    assert Attempt.objects.get().outcome == "released"


def test_renewed_lease_lasts_a_minute_and_is_lost_then(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    clock.advance_beating(59)
    early = leases.expire_leases()
    clock.advance_beating(2)

    assert (early, leases.expire_leases()) == ([], [claim.run_id])
    assert run_of(claim).state == "pending"
    attempt = Attempt.objects.get()
    assert (attempt.outcome, (attempt.error or {})["type"]) == ("lost", "WorkerLost")


def test_expired_lease_returns_its_run_to_the_queue(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.save(checkpoint_of(claim))
    clock.advance_beating(21)
    leases.expire_leases()

    (following,) = coordinator.claim(worker_id)

    assert (following.run_id, following.attempt, following.has_checkpoints) == (claim.run_id, 2, True)


def test_suspected_worker_loses_its_leases_after_five_seconds(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    coordinator.run(coordinator.database.run(lambda c: leases.suspect(c, worker_id=worker_id)))
    clock.advance_beating(4)
    early = leases.expire_leases()
    clock.advance_beating(2)

    assert (early, leases.expire_leases()) == ([], [claim.run_id])


def test_worker_that_comes_back_keeps_its_leases(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    coordinator.run(coordinator.database.run(lambda c: leases.suspect(c, worker_id=worker_id)))
    clock.advance_beating(3)
    coordinator.beat(worker_id)
    clock.advance_beating(4)

    assert leases.expire_leases() == []


def test_stopped_worker_loses_its_leases_at_once(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    coordinator.beat(worker_id, is_stopping=True)

    assert leases.expire_leases() == [claim.run_id]


def test_lease_does_not_end_within_a_minute_after_the_database_came_back(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    clock.advance(300)
    unnoticed = leases.expire_leases()
    leases.stamp_pulse()
    clock.advance_beating(55)
    within = leases.expire_leases()
    clock.advance_beating(10)

    assert (unnoticed, within) == ([], [])
    assert leases.expire_leases() == [claim.run_id]


def test_renewal_after_an_outage_keeps_the_run(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    clock.advance(300)
    leases.stamp_pulse()
    clock.advance_beating(10)
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))
    clock.advance_beating(55)

    assert leases.expire_leases() == []
    assert coordinator.finish(finish_of(claim))[0].status == 200


def test_claim_survives_a_silence_that_the_pulse_takes_for_none(
    clock: Clock, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    """The database stood still for a moment, just after the claim: the worker confirms when it is back."""
    clock.advance(leases.PULSE_SILENCE_SECONDS - 0.5)
    leases.stamp_pulse()
    unexpired = leases.expire_leases()
    coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))

    assert unexpired == []
    assert coordinator.finish(finish_of(claim))[0].status == 200


def test_regular_pulse_notes_no_outage(clock: Clock) -> None:
    clock.advance_beating(60)

    assert Pulse.objects.get().resumed_at is None


def test_silent_pulse_notes_when_the_database_came_back(clock: Clock) -> None:
    clock.advance(16)
    leases.stamp_pulse()
    first = Pulse.objects.get().resumed_at
    clock.advance_beating(10)

    assert first is not None
    assert Pulse.objects.get().resumed_at == first


def test_third_loss_is_a_dead_letter(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    for _ in range(2):
        coordinator.starts(start_of(claim))
        claim = again(coordinator, worker_id, claim)
    coordinator.starts(start_of(claim))
    Run.objects.update(lease_end="2000-01-01T00:00:00Z")

    leases.expire_leases()

    run = run_of(claim)
    assert (run.state, run.attempt_count) == ("dead_letter", 3)
    assert "poison" in (run.value.error or {})["reason"]


def test_checkpoint_between_losses_starts_their_count_anew(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    for number in range(4):
        coordinator.starts(start_of(claim))
        coordinator.save(checkpoint_of(claim, f"key-{number}"))
        claim = again(coordinator, worker_id, claim)

    assert run_of(claim).state == "running"


def test_released_claims_are_no_losses(coordinator: Coordinator, worker_id: UUID, claim: wire.Claim) -> None:
    for _ in range(5):
        claim = again(coordinator, worker_id, claim)

    assert set(Attempt.objects.exclude(number=6).values_list("outcome", flat=True)) == {"released"}


def test_lost_run_that_was_to_be_canceled_is_canceled(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    Run.objects.update(is_cancel_requested=True, lease_end="2000-01-01T00:00:00Z")

    leases.expire_leases()

    assert run_of(claim).state == "canceled"


# The tick.


def test_sweep_without_ended_leases_changes_nothing(coordinator: Coordinator, claim: wire.Claim) -> None:
    assert ticks.expire_ended_leases() is False
    assert run_of(claim).state == "running"


def test_sweep_ends_more_than_a_page_and_passes_healthy_runs(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticks, "SWEEP_PAGE", 3)
    claims = [claimed_run(coordinator, worker_id) for _ in range(11)]
    healthy = {claims[0].run_id, claims[1].run_id, claims[2].run_id, claims[5].run_id}
    Run.objects.exclude(id__in=healthy).update(lease_end="2000-01-01T00:00:00Z")

    ticks.expire_ended_leases()
    first = set(Run.objects.running().values_list("id", flat=True))
    versions = list(Run.objects.order_by("id").values_list("version", flat=True))
    ticks.expire_ended_leases()

    assert first == healthy
    assert list(Run.objects.order_by("id").values_list("version", flat=True)) == versions


def test_page_is_bounded(coordinator: Coordinator, worker_id: UUID) -> None:
    claims = sorted(claimed_run(coordinator, worker_id).run_id for _ in range(5))
    Run.objects.update(lease_end="2000-01-01T00:00:00Z")

    first = leases.expire_leases(limit=2)
    second = leases.expire_leases(after=first[-1], limit=2)

    assert first + second == claims[:4]


def test_expiry_skips_a_run_that_somebody_holds(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    import psycopg

    Run.objects.update(lease_end="2000-01-01T00:00:00Z")
    with psycopg.connect(committed) as session:
        session.execute("SELECT 1 FROM runs_run FOR NO KEY UPDATE")
        skipped = leases.expire_leases()

    assert (skipped, leases.expire_leases()) == ([], [claim.run_id])


def test_registering_again_brings_a_stopped_worker_back(coordinator: Coordinator, worker_id: UUID) -> None:
    coordinator.beat(worker_id, is_stopping=True)

    coordinator.register(worker_id)

    assert Worker.objects.get(id=worker_id).stopped_at is None


def test_clock_is_the_databases_own_after_each_test(committed: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM trigger_now() - clock_timestamp())")
        assert abs(cursor.fetchone()[0]) < 1
