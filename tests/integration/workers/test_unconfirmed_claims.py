"""What becomes of a claim that nobody has confirmed: its code may have begun where the worker is gone."""

from functools import partial
from uuid import UUID

import pytest

from apps import protocol as wire
from apps.runs.models import Attempt
from apps.workers import leases
from tests.coordinator_harness import (
    Clock,
    Coordinator,
    again,
    run_of,
)


@pytest.fixture(autouse=True)
def _pulse(committed: str) -> None:
    leases.stamp_pulse()


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
