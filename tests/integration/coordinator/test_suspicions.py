"""A broken connection makes a worker suspected; any contact with any coordinator clears that."""

import asyncio
import threading
from typing import Any
from uuid import UUID

import pytest

from apps import protocol as wire
from apps.runs.lifecycle import trigger
from apps.runs.models import Attempt
from apps.workers import leases
from apps.workers.models import Worker
from tests.coordinator_harness import (
    DEADLINE_SECONDS,
    Coordinator,
    a_coordinator,
    answer,
    until,
)
from tests.factories import make_task


def suspected(worker_id: UUID) -> bool:
    return Worker.objects.get(id=worker_id).suspected_at is not None


def break_poll(coordinator: Coordinator, worker_id: UUID) -> None:
    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))
    poll.disconnect()
    until(lambda: suspected(worker_id), "its broken connection makes the worker suspected")


def test_broken_connection_makes_a_worker_suspected(coordinator: Coordinator, worker_id: UUID) -> None:
    break_poll(coordinator, worker_id)

    assert not coordinator.dispatcher.holds_poll_of(worker_id)


def test_nothing_is_claimed_for_a_closed_connection(coordinator: Coordinator, worker_id: UUID) -> None:
    break_poll(coordinator, worker_id)
    make_task()
    run = trigger("process-order", {})

    (claim,) = coordinator.claim(coordinator.register())

    assert claim.run_id == run.id
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize("contact", ["poll", "beat", "register"])
def test_any_contact_clears_a_suspicion(coordinator: Coordinator, worker_id: UUID, contact: str) -> None:
    break_poll(coordinator, worker_id)

    if contact == "poll":
        coordinator.poll(worker_id)
    elif contact == "beat":
        coordinator.beat(worker_id)
    else:
        coordinator.register(worker_id)

    until(lambda: not suspected(worker_id))


def test_poll_held_elsewhere_clears_a_suspicion_that_came_later(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    """The worker went to another coordinator before the first one noticed its broken connection."""
    with a_coordinator(committed) as other:
        other.dispatch()
        other.poll(worker_id)
        until(lambda: other.dispatcher.holds_poll_of(worker_id))
        Worker.objects.filter(id=worker_id).update(suspected_at="2026-01-01T00:00:00Z")

        until(lambda: not suspected(worker_id))


def test_suspicion_that_comes_while_others_are_cleared_stands(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that began while the poll was open would take it for one of an open poll."""
    clear, suspect, order, gate = leases.clear_suspicions, leases.suspect, list[str](), threading.Event()

    async def clear_late(database: Any, *, worker_ids: list[UUID]) -> list[UUID]:
        order.append("sweep")
        await asyncio.to_thread(gate.wait, DEADLINE_SECONDS)
        cleared = await clear(database, worker_ids=worker_ids)
        order.append("cleared")
        return cleared

    async def noted(database: Any, *, worker_id: UUID) -> None:
        order.append("suspected")
        await suspect(database, worker_id=worker_id)

    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))
    monkeypatch.setattr(leases, "clear_suspicions", clear_late)
    monkeypatch.setattr(leases, "suspect", noted)
    until(lambda: order == ["sweep"])
    poll.disconnect()
    until(lambda: order == ["sweep", "suspected"])
    gate.set()
    until(lambda: "cleared" in order and order[-1] == "suspected")

    until(lambda: suspected(worker_id))


def test_break_of_an_older_poll_suspects_nobody(coordinator: Coordinator, worker_id: UUID) -> None:
    older = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))
    newer = coordinator.poll(worker_id)
    older.disconnect()
    older.wait()

    coordinator.beat(worker_id)

    assert not suspected(worker_id)
    assert not newer.future.done()


def test_coordinator_that_stops_suspects_nobody(coordinator: Coordinator, worker_id: UUID) -> None:
    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

    coordinator.loop.call_soon_threadsafe(coordinator.dispatcher.stop)
    late = coordinator.poll(worker_id)
    late.disconnect()

    assert answer(poll, wire.PollReply) == wire.PollReply()
    late.future.result(20)
    assert not suspected(worker_id)


# Cancels and the end of a worker.
