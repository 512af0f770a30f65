"""Two connections at the same moment: whoever comes second sees what the first one did."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, connections

from apps import protocol as wire
from apps.checkpoints.models import Checkpoint
from apps.runs.lifecycle import cancel
from apps.runs.models import Attempt, Run
from apps.workers.leases import expire_leases
from tests.coordinator_harness import (
    Coordinator,
    a_coordinator,
    checkpoint_of,
    claimed_run,
    finish_of,
    run_of,
    start_of,
    until,
)


@contextmanager
def held(url: str, run_id: UUID) -> Iterator[None]:
    """A session that holds the run's row until the block ends: all who come meanwhile queue up behind it."""
    with psycopg.connect(url) as session:
        session.execute("SELECT 1 FROM runs_run WHERE id = %s FOR NO KEY UPDATE", (run_id,))
        yield


def waiting_count() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


def is_waiting_count(expected: int) -> bool:
    return waiting_count() == expected


def in_order(url: str, run_id: UUID, *calls: Callable[[], Any]) -> list[Any]:
    """Carries the calls out side by side so that all of them wait for the run's row, in this order."""

    def call(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures: list[Future[Any]] = []
        with held(url, run_id):
            for number, work in enumerate(calls, 1):
                futures.append(pool.submit(call, work))
                until(partial(is_waiting_count, number), "the call waits for the row")
        return [future.result(20) for future in futures]


@pytest.fixture
def other(committed: str) -> Iterator[Coordinator]:
    """A second coordinator on the same database."""
    with a_coordinator(committed) as other:
        yield other


def test_two_completes_at_two_coordinators_get_the_same_answer(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    finish = finish_of(claim)

    answers = in_order(committed, claim.run_id, lambda: coordinator.finish(finish), lambda: other.finish(finish))

    assert answers == [[wire.Result(200, state="completed")]] * 2
    assert run_of(claim).version == 2


def test_two_failures_at_two_coordinators_get_the_same_answer(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    finish = finish_of(claim, "failed")

    answers = in_order(committed, claim.run_id, lambda: coordinator.finish(finish), lambda: other.finish(finish))

    assert answers == [[wire.Result(200, state="retrying")]] * 2
    assert Attempt.objects.get(run_id=claim.run_id).outcome == "failed"


def test_complete_before_failure_wins(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    (completed,), (failed,) = in_order(
        committed,
        claim.run_id,
        lambda: coordinator.finish(finish_of(claim)),
        lambda: other.finish(finish_of(claim, "failed")),
    )

    assert (completed.status, failed.status) == (200, 409)
    assert run_of(claim).state == "completed"


def test_expiry_leaves_a_run_alone_that_is_just_being_completed(
    committed: str, coordinator: Coordinator, claim: wire.Claim
) -> None:
    Run.objects.filter(id=claim.run_id).update(lease_end="2000-01-01T00:00:00Z")

    with ThreadPoolExecutor(1) as pool:
        with held(committed, claim.run_id):
            completing = pool.submit(coordinator.finish, finish_of(claim))
            until(lambda: waiting_count() == 1)
            expired = expire_leases()
        (result,) = completing.result(20)

    assert expired == []
    assert (result.status, run_of(claim).state) == (200, "completed")
    assert expire_leases() == []


def test_complete_behind_an_expiry_is_stale(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    """The expiry holds the row when the complete comes."""
    Run.objects.filter(id=claim.run_id).update(lease_end="2000-01-01T00:00:00Z")
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(committed) as session:
            session.execute(
                "UPDATE runs_attempt SET outcome = 'lost', finished_at = now() WHERE run_id = %s", (claim.run_id,)
            )
            session.execute(
                "UPDATE runs_run SET state = 'pending', token = NULL, worker_id = NULL, lease_end = NULL WHERE id = %s",
                (claim.run_id,),
            )
            completing = pool.submit(coordinator.finish, finish_of(claim))
            until(lambda: waiting_count() == 1)
        (result,) = completing.result(20)

    assert (result.status, result.code) == (409, "stale")
    assert (run_of(claim).state, run_of(claim).value.output) == ("pending", None)


def test_checkpoint_behind_an_expiry_is_stale(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(committed) as session:
            session.execute(
                "UPDATE runs_run SET state = 'pending', token = NULL, worker_id = NULL, lease_end = NULL WHERE id = %s",
                (claim.run_id,),
            )
            saving = pool.submit(coordinator.save, checkpoint_of(claim))
            until(lambda: waiting_count() == 1)
        (result,) = saving.result(20)

    assert (result.status, result.code) == (409, "stale")
    assert not Checkpoint.objects.exists()


def test_complete_before_a_cancel_wins_and_the_cancel_is_refused(
    committed: str, coordinator: Coordinator, claim: wire.Claim
) -> None:
    from apps.runs.errors import IllegalMove

    def ask() -> str:
        try:
            return cancel(claim.run_id).state
        except IllegalMove as error:
            return f"refused: {error.state}"

    (completed,), asked = in_order(committed, claim.run_id, lambda: coordinator.finish(finish_of(claim)), ask)

    assert (completed.status, asked) == (200, "refused: completed")
    assert run_of(claim).state == "completed"


def test_cancel_before_a_failure_ends_the_run(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    asked, (failed,) = in_order(
        committed,
        claim.run_id,
        lambda: cancel(claim.run_id).state,
        lambda: coordinator.finish(finish_of(claim, "failed")),
    )

    assert (asked, failed.status, failed.state) == ("running", 200, "canceled")
    assert run_of(claim).state == "canceled"


def test_cancel_behind_a_failure_cancels_the_retry(committed: str, coordinator: Coordinator, claim: wire.Claim) -> None:
    """The run goes from running to retrying while the cancel waits; it must not slip through between its two moves."""
    (failed,), asked = in_order(
        committed,
        claim.run_id,
        lambda: coordinator.finish(finish_of(claim, "failed")),
        lambda: cancel(claim.run_id).state,
    )

    assert (failed.state, asked) == ("retrying", "canceled")
    assert run_of(claim).state == "canceled"


def test_same_checkpoint_at_two_coordinators_is_saved_once(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    item = checkpoint_of(claim)

    answers = in_order(committed, claim.run_id, lambda: coordinator.save(item), lambda: other.save(item))

    assert answers == [[wire.Result(200)]] * 2
    assert Checkpoint.objects.count() == 1


def test_two_checkpoints_of_one_run_at_two_coordinators_get_two_indexes(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    """The second one numbered itself before the first had committed."""
    one, two = checkpoint_of(claim, "one"), checkpoint_of(claim, "two")

    answers = in_order(committed, claim.run_id, lambda: coordinator.save(one), lambda: other.save(two))

    assert answers == [[wire.Result(200, index=0)], [wire.Result(200, index=1)]]
    assert list(Checkpoint.objects.order_by("index").values_list("key", flat=True)) == ["one", "two"]


def test_other_data_at_the_second_coordinator_is_a_conflict(
    committed: str, coordinator: Coordinator, other: Coordinator, claim: wire.Claim
) -> None:
    (saved,), (conflict,) = in_order(
        committed,
        claim.run_id,
        lambda: coordinator.save(checkpoint_of(claim)),
        lambda: other.save(checkpoint_of(claim, data=b'{"a":2}')),
    )

    assert (saved.status, conflict.status, conflict.code) == (200, 409, "conflict")


@pytest.mark.parametrize("kind", ["start", "save", "complete", "fail"])
def test_who_waits_for_one_run_of_a_batch_holds_no_other(
    committed: str, coordinator: Coordinator, worker_id: UUID, kind: str
) -> None:
    """Otherwise two coordinators deadlock."""
    claims = [claimed_run(coordinator, worker_id) for _ in range(2)]
    low, high = sorted(claims, key=lambda claim: claim.run_id)
    calls: dict[str, Callable[[], object]] = {
        "start": lambda: coordinator.starts(start_of(high), start_of(low)),
        "save": lambda: coordinator.save(checkpoint_of(high), checkpoint_of(low)),
        "complete": lambda: coordinator.finish(finish_of(high), finish_of(low)),
        "fail": lambda: coordinator.finish(finish_of(high, "failed"), finish_of(low, "failed")),
    }

    with ThreadPoolExecutor(1) as pool:
        with held(committed, low.run_id):
            waiting = pool.submit(calls[kind])
            until(lambda: waiting_count() == 1)
            with psycopg.connect(committed) as session:
                session.execute("SELECT 1 FROM runs_run WHERE id = %s FOR NO KEY UPDATE NOWAIT", (high.run_id,))
        waiting.result(20)
