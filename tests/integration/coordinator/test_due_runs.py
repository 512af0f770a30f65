"""When a run may be claimed: from its due time, until its time to live is over, and first of all when it was bumped."""

from datetime import timedelta

from django.db.models.functions import Now

from apps.queues.bump import bump
from apps.runs.lifecycle import expire_runs, trigger
from apps.runs.models import Run
from tests.callers import at_once
from tests.coordinator_harness import Clock, Coordinator
from tests.factories import make_run, make_task

PAST = Now() - timedelta(seconds=1)


def test_a_bumped_run_is_claimed_first(coordinator: Coordinator) -> None:
    make_task()
    trigger("process-order", priority=100)
    last = trigger("process-order", priority=-100)
    coordinator.dispatch(is_listening=True)

    bump(run_id=last.id)

    (claim,) = coordinator.claim(coordinator.register(), 1)
    assert claim.run_id == last.id


def test_an_expired_run_is_never_claimed(coordinator: Coordinator, clock: Clock) -> None:
    make_task()
    coordinator.dispatch(is_listening=True)
    late = trigger("process-order", ttl=30)
    clock.advance(31)
    fresh = trigger("process-order", ttl=30)

    claims = coordinator.claim(coordinator.register())

    assert [claim.run_id for claim in claims] == [fresh.id]
    assert expire_runs() == [late.id]


def test_a_delayed_run_is_claimed_when_it_is_due(coordinator: Coordinator, clock: Clock) -> None:
    make_task()
    coordinator.dispatch(is_listening=True)
    worker_id = coordinator.register()
    delayed = trigger("process-order", delay=600, ttl=30)
    now = trigger("process-order")
    assert [claim.run_id for claim in coordinator.claim(worker_id)] == [now.id]

    clock.advance(601)

    assert [claim.run_id for claim in coordinator.claim(worker_id)] == [delayed.id]


def test_only_one_of_two_at_once_expires_a_run(committed: str) -> None:
    make_task()
    for _ in range(20):
        make_run(expires_at=PAST)

    expired = at_once(8, lambda _: expire_runs(limit=5))

    found = [run_id for ids in expired for run_id in ids]
    assert len(found) == len(set(found)) == Run.objects.filter(state="expired").count()
