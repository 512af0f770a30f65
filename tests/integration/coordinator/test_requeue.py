"""Requeue and replay beside a coordinator: fresh budgets of every kind, late repeats, and who comes first."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from apps import protocol as wire
from apps.checkpoints.replay import create as replays
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.plan import ReplayRequest
from apps.queues.dead_letters.one import requeue
from apps.runs.errors import IllegalMove
from apps.runs.lifecycle import cancel, trigger
from apps.runs.models import Attempt, Run
from apps.runs.states import RunState
from tests.coordinator_harness import Coordinator, checkpoint_of, finish_of, run_of, start_of
from tests.factories import make_task
from tests.integration.checkpoints.orders import deploy, point
from tests.integration.coordinator.test_races import in_order

LONG_AGO = "2000-01-01T00:00:00Z"


def fail_until_dead(coordinator: Coordinator, worker_id: UUID, run_id: UUID, outcome: str) -> list[wire.Claim]:
    """Lets each attempt end that way until there are no more; the attempts' claims."""
    claims = []
    while Run.objects.get(id=run_id).state != RunState.DEAD_LETTER:
        Run.objects.filter(id=run_id, state=RunState.RETRYING).update(due_at=LONG_AGO)
        (claim,) = coordinator.claim(worker_id, 1)
        coordinator.finish(finish_of(claim, outcome, error={"type": "E", "message": "m", "stack": ""}))
        claims.append(claim)
        assert len(claims) < 30
    return claims


@pytest.mark.parametrize(("outcome", "max_attempts", "count"), [("failed", 2, 2), ("crashed", 10, 3)])
def test_a_requeued_run_has_its_whole_budget_again(
    coordinator: Coordinator, worker_id: UUID, outcome: str, max_attempts: int, count: int
) -> None:
    make_task()
    run = trigger("process-order", {}, max_attempts=max_attempts)
    first = fail_until_dead(coordinator, worker_id, run.id, outcome)

    requeue(run_id=run.id)
    second = fail_until_dead(coordinator, worker_id, run.id, outcome)

    assert (len(first), len(second)) == (count, count)
    numbers = Attempt.objects.filter(run_id=run.id).order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, 2 * count + 1))


def dead_letter_with_a_checkpoint(coordinator: Coordinator, worker_id: UUID) -> wire.Claim:
    """A run whose only attempt saved a checkpoint and failed for good; that attempt's claim."""
    deploy([point("order-fetched", ["order"])])
    trigger("process-order", {}, max_attempts=1)
    (claim,) = coordinator.claim(worker_id, 1)
    coordinator.starts(start_of(claim))
    coordinator.save(checkpoint_of(claim))
    coordinator.finish(finish_of(claim, "failed", error={"type": "E", "message": "m", "stack": ""}))
    assert run_of(claim).state == RunState.DEAD_LETTER
    return claim


def test_a_requeued_run_is_claimed_with_what_it_has_saved(coordinator: Coordinator, worker_id: UUID) -> None:
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)

    requeue(run_id=letter.run_id)
    (claim,) = coordinator.claim(worker_id, 1)

    assert (claim.run_id, claim.attempt, claim.has_checkpoints) == (letter.run_id, 2, True)
    assert [item.key for item in coordinator.stored(claim.run_id, claim.token)] == ["order-fetched"]


def test_another_deployment_is_that_of_the_next_attempt(coordinator: Coordinator, worker_id: UUID) -> None:
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)
    newest = deploy([point("order-fetched", ["order"])])

    requeue(run_id=letter.run_id, deployment="latest")
    (claim,) = coordinator.claim(worker_id, 1)

    assert claim.deployment_id == newest.id
    deployments = (
        Attempt.objects.filter(run_id=letter.run_id).order_by("number").values_list("deployment_id", flat=True)
    )
    assert list(deployments) == [letter.deployment_id, newest.id]


def test_a_late_repeat_of_the_old_end_gets_its_old_answer(coordinator: Coordinator, worker_id: UUID) -> None:
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)
    requeue(run_id=letter.run_id)
    (claim,) = coordinator.claim(worker_id, 1)

    (late,) = coordinator.finish(finish_of(letter, "failed", error={"type": "E", "message": "m", "stack": ""}))
    (stale,) = coordinator.save(checkpoint_of(letter, "late"))

    assert (late.status, stale.status) == (200, 409)
    assert (run_of(claim).state, bytes(run_of(claim).token or b"")) == (RunState.RUNNING, claim.token)


def called(verb: Any, *arguments: Any, **named: Any) -> str:
    """The state that the verb led to, or the one that it was refused in."""
    try:
        with transaction.atomic():
            found = verb(*arguments, **named)
    except IllegalMove as refusal:
        return f"refused: {refusal.state}"
    return str(found.state)


def discarded(run_id: UUID) -> str:
    count = Run.objects.filter(id=run_id, state=RunState.DEAD_LETTER).update(state=RunState.DISCARDED)
    return f"{count} discarded"


def test_two_requeues_at_once_make_one(committed: str, coordinator: Coordinator, worker_id: UUID) -> None:
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)
    version = run_of(letter).version
    call = partial(called, requeue, run_id=letter.run_id)

    assert in_order(committed, letter.run_id, call, call) == ["pending", "refused: pending"]
    assert run_of(letter).version == version + 1


def test_a_cancel_before_the_requeue_is_refused_and_one_after_it_wins(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)
    requeued, canceled = partial(called, requeue, run_id=letter.run_id), partial(called, cancel, letter.run_id)

    assert in_order(committed, letter.run_id, canceled, requeued) == ["refused: dead_letter", "pending"]
    assert run_of(letter).state == RunState.PENDING
    assert in_order(committed, letter.run_id, canceled, requeued) == ["canceled", "refused: canceled"]


def test_a_discarded_run_is_not_requeued_and_a_requeued_one_not_discarded(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    first = dead_letter_with_a_checkpoint(coordinator, worker_id)
    second = dead_letter_with_a_checkpoint(coordinator, worker_id)

    order = in_order(
        committed, first.run_id, partial(discarded, first.run_id), partial(called, requeue, run_id=first.run_id)
    )
    assert order == ["1 discarded", "refused: discarded"]
    order = in_order(
        committed, second.run_id, partial(called, requeue, run_id=second.run_id), partial(discarded, second.run_id)
    )
    assert order == ["pending", "0 discarded"]


def test_a_requeue_that_waited_judges_what_was_saved_meanwhile(
    committed: str, coordinator: Coordinator, worker_id: UUID
) -> None:
    """The first requeue's attempt saves a checkpoint that the newest code lacks and dies; the second must see it."""
    letter = dead_letter_with_a_checkpoint(coordinator, worker_id)
    deploy([point("other", ["order"])])

    def revive() -> str:
        with transaction.atomic():
            requeue(run_id=letter.run_id)
            Run.objects.get(id=letter.run_id).checkpoints.update(key="gone")
            Run.objects.filter(id=letter.run_id).update(state=RunState.DEAD_LETTER, finished_at=LONG_AGO)
        return "dead again"

    def again() -> str:
        try:
            return str(requeue(run_id=letter.run_id, deployment="latest").state)
        except Exception as refusal:
            return str(refusal)

    _, answer = in_order(committed, letter.run_id, revive, again)

    assert "has no checkpoint 'gone' to continue after" in answer


def test_what_a_running_original_saves_meanwhile_is_there_whole_or_not_at_all(
    coordinator: Coordinator, worker_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy([point("order-fetched", ["order"]), point("late", ["order"])])
    trigger("process-order", {})
    (claim,) = coordinator.claim(worker_id, 1)
    coordinator.save(checkpoint_of(claim))
    copy_payload = replays.COPY_PAYLOAD.run

    def save_then_copy(**parameters: Any) -> list[Any]:
        assert coordinator.save(checkpoint_of(claim, "late"))[0].status == 200
        return copy_payload(**parameters)

    monkeypatch.setattr(replays.COPY_PAYLOAD, "run", save_then_copy)
    copy = replay(ReplayRequest(run_id=claim.run_id, from_checkpoint="order-fetched"))

    assert list(copy.checkpoints.values_list("key", flat=True)) == ["order-fetched"]
    assert run_of(claim).checkpoints.count() == 2
    assert coordinator.finish(finish_of(claim))[0].status == 200
