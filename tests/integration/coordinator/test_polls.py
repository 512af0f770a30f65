"""Held polls: answered, repeated, superseded, broken; and what reaches a worker by them."""

import time
from uuid import UUID, uuid4

import psycopg
import pytest

from apps import protocol as wire
from apps.runs.lifecycle import cancel, trigger
from apps.runs.models import Attempt, Run
from apps.workers.models import Worker
from tests.coordinator_harness import (
    Coordinator,
    a_coordinator,
    answer,
    claimed_run,
    finish_of,
    run_of,
    start_of,
    until,
)
from tests.factories import make_task
from trigger_site.coordinator import polls


def test_poll_is_answered_at_once_by_a_notification(committed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "SWEEP_SECONDS", 3600.0)
    make_task()
    with a_coordinator(committed) as coordinator:
        coordinator.dispatch(is_listening=True)
        worker_id = coordinator.register()
        until(lambda: _listening_count(committed) == 1, "the coordinator listens")
        poll = coordinator.poll(worker_id)
        until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

        run = trigger("process-order", {})

        assert [claim.run_id for claim in answer(poll, wire.PollReply).claims] == [run.id]


def _listening_count(url: str) -> int:
    with psycopg.connect(url) as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN trigger_cancel%' "
            "AND datname = current_database()"
        ).fetchone()
    return int(row[0]) if row else 0


def test_poll_is_answered_by_the_sweep_without_a_notification(coordinator: Coordinator, worker_id: UUID) -> None:
    make_task()
    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

    run = trigger("process-order", {})

    assert [claim.run_id for claim in answer(poll, wire.PollReply).claims] == [run.id]


def test_poll_without_work_is_answered_with_nothing_in_the_end(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "POLL_SECONDS", 0.05)

    assert answer(coordinator.poll(worker_id), wire.PollReply) == wire.PollReply()


def test_claim_carries_what_the_worker_needs(coordinator: Coordinator, worker_id: UUID) -> None:
    claim = claimed_run(coordinator, worker_id, max_attempts=7)

    run = run_of(claim)
    assert (claim.attempt, claim.task, claim.max_attempts) == (1, "process-order", 7)
    assert (claim.payload, claim.public_id, claim.has_checkpoints) == (b'{"order_id":"A1"}', run.public_id, False)
    assert (claim.token, run.worker_id, claim.deployment_id) == (bytes(run.token or b""), worker_id, run.deployment_id)


def test_poll_claims_no_more_than_its_capacity(coordinator: Coordinator, worker_id: UUID) -> None:
    make_task()
    for _ in range(5):
        trigger("process-order", {})

    counts = [len(coordinator.claim(worker_id, capacity)) for capacity in (2, 2, 2)]

    assert counts == [2, 2, 1]


def test_poll_without_capacity_claims_nothing(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "POLL_SECONDS", 0.3)
    make_task()
    trigger("process-order", {})

    assert answer(coordinator.poll(worker_id, 0), wire.PollReply).claims == []
    assert Run.objects.get().state == "pending"


def test_repeated_poll_gets_the_same_claims_at_any_coordinator(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    make_task()
    for _ in range(4):
        trigger("process-order", {})
    poll_id = uuid4()
    first = answer(coordinator.poll(worker_id, 2, poll_id), wire.PollReply).claims

    with a_coordinator(committed) as other:
        other.dispatch()
        repeated = answer(other.poll(worker_id, 2, poll_id, is_repeat=True), wire.PollReply).claims

    assert repeated == first
    assert Run.objects.filter(state="pending").count() == 2


def test_repeated_poll_gives_its_claims_a_whole_time_to_confirm(coordinator: Coordinator, worker_id: UUID) -> None:
    make_task()
    trigger("process-order", {})
    poll_id = uuid4()
    answer(coordinator.poll(worker_id, 1, poll_id), wire.PollReply)
    Run.objects.update(lease_end="2000-01-01T00:00:00Z")

    answer(coordinator.poll(worker_id, 1, poll_id, is_repeat=True), wire.PollReply)

    run = Run.objects.get()
    assert run.lease_end is not None
    assert run.lease_end.year > 2000


def test_repeated_poll_of_another_worker_gets_nothing_of_it(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_task()
    trigger("process-order", {})
    poll_id = uuid4()
    answer(coordinator.poll(worker_id, 1, poll_id), wire.PollReply)
    monkeypatch.setattr(polls, "POLL_SECONDS", 0.1)

    reply = answer(coordinator.poll(coordinator.register(), 1, poll_id, is_repeat=True), wire.PollReply)

    assert reply.claims == []


def test_newer_poll_ends_the_older_one(coordinator: Coordinator, worker_id: UUID) -> None:
    older = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

    newer = coordinator.poll(worker_id)

    assert answer(older, wire.PollReply) == wire.PollReply()
    make_task()
    run = trigger("process-order", {})
    assert [claim.run_id for claim in answer(newer, wire.PollReply).claims] == [run.id]


# Suspicion.


def test_cancel_reaches_the_worker_by_its_poll_once(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

    cancel(claim.run_id)

    assert answer(poll, wire.PollReply).cancels == [claim.run_id]
    monkeypatch.setattr(polls, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(polls, "POLL_SECONDS", 0.5)
    seen = coordinator.poll(worker_id, cancels_seen=[claim.run_id])
    assert answer(seen, wire.PollReply).cancels == []


def test_cancel_reaches_the_worker_by_its_heartbeat(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    cancel(claim.run_id)

    reply = coordinator.beat(worker_id, wire.Lease(claim.run_id, claim.token))

    assert (reply.cancels, reply.stale) == ([claim.run_id], [])
    (result,) = coordinator.finish(finish_of(claim, "canceled"))
    assert (result.state, run_of(claim).state) == ("canceled", "canceled")


def test_start_is_recorded(coordinator: Coordinator, claim: wire.Claim) -> None:
    before = time.time()

    coordinator.starts(start_of(claim, resumed_from="order-fetched"))

    attempt = Attempt.objects.get()
    assert (attempt.start_kind, attempt.resumed_from, attempt.is_confirmed) == ("cold", "order-fetched", True)
    assert attempt.started_at is not None
    assert attempt.started_at.timestamp() < before + 20


def test_last_heartbeat_stops_the_worker_and_answers_its_poll(coordinator: Coordinator, worker_id: UUID) -> None:
    poll = coordinator.poll(worker_id)
    until(lambda: coordinator.dispatcher.holds_poll_of(worker_id))

    coordinator.beat(worker_id, is_stopping=True)

    assert answer(poll, wire.PollReply) == wire.PollReply()
    worker = Worker.objects.get(id=worker_id)
    assert worker.stopped_at is not None
    assert worker.suspected_at is None
