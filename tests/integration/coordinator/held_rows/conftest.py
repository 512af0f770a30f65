from collections.abc import Iterator
from uuid import UUID

import pytest

from apps import protocol as wire
from apps.workers import leases
from tests.coordinator_harness import Coordinator, a_coordinator, claimed_run
from trigger_site.coordinator.database import PATIENCE_SECONDS


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
