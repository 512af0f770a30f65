"""Many dead letters are moved while others move some of them: each goes one way, and nothing is undone."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from apps.access.models import AuditEntry
from apps.access.permissions import Actor
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.queues.dead_letters.many import Selection, discard_many, requeue_many
from apps.queues.dead_letters.one import discard, requeue
from apps.runs.errors import IllegalMove
from apps.runs.models import Run
from tests.coordinator_harness import Clock
from tests.factories import make_run
from tests.integration.coordinator.due_claims import claimed
from tests.integration.coordinator.test_races import in_order

ACTOR = Actor("olga", frozenset())
ALL = Selection(chosen=DEAD_LETTER_FILTERS.of())


def letter() -> Run:
    error = {"type": "E", "message": "m", "stack": ""}
    return make_run("noop", state="dead_letter", error=error, attempt_count=1)


def one(verb: Any, run_id: UUID, **named: Any) -> str:
    try:
        with transaction.atomic():
            return str(verb(run_id=run_id, **named).state)
    except IllegalMove as refusal:
        return f"refused: {refusal.state}"


def many(verb: Any, selection: Selection, **named: Any) -> str:
    outcome = verb(selection, actor=ACTOR, **named)
    return f"{outcome.moved_count} moved, {len(outcome.refused)} refused"


@pytest.mark.parametrize("is_by_ids", [True, False])
@pytest.mark.parametrize("wanted", ["requeue", "discard"])
def test_run_that_is_moved_first_by_another_is_left_to_it(committed: str, wanted: str, is_by_ids: bool) -> None:
    run, others = letter(), [letter() for _ in range(3)]
    selection = Selection(ids=[run.id, *(other.id for other in others)]) if is_by_ids else ALL
    bulk = (
        partial(many, requeue_many, selection)
        if wanted == "requeue"
        else partial(many, discard_many, selection, note="x")
    )
    first = partial(one, discard, run.id, note="mine") if wanted == "requeue" else partial(one, requeue, run.id)

    answers = in_order(committed, run.id, first, bulk)

    kept, moved = ("discarded", "pending") if wanted == "requeue" else ("pending", "discarded")
    assert answers == [kept, f"3 moved, {1 if is_by_ids else 0} refused"]
    assert Run.objects.get(id=run.id).state == kept
    assert set(Run.objects.exclude(id=run.id).values_list("state", flat=True)) == {moved}
    assert not AuditEntry.objects.filter(subject=run.public_id).exists()


@pytest.mark.parametrize("wanted", ["requeue", "discard"])
def test_run_that_the_bulk_moved_first_is_refused_to_the_other(committed: str, wanted: str) -> None:
    run = letter()
    bulk = partial(many, requeue_many, ALL) if wanted == "requeue" else partial(many, discard_many, ALL, note="x")
    second = partial(one, discard, run.id, note="late") if wanted == "requeue" else partial(one, requeue, run.id)

    state = "pending" if wanted == "requeue" else "discarded"
    assert in_order(committed, run.id, bulk, second) == ["1 moved, 0 refused", f"refused: {state}"]


def test_two_bulks_at_once_move_each_run_once(committed: str) -> None:
    runs = [letter() for _ in range(5)]
    call = partial(many, requeue_many, ALL)

    answers = in_order(committed, runs[0].id, call, call)

    assert answers == ["5 moved, 0 refused", "0 moved, 0 refused"]
    assert set(Run.objects.values_list("version", flat=True)) == {runs[0].version + 1}
    assert AuditEntry.objects.filter(action="runs.requeue").count() == 5


def test_discard_twice_at_once_keeps_the_first_note(committed: str) -> None:
    run = letter()

    first, second = partial(one, discard, run.id, note="first"), partial(one, discard, run.id, note="second")
    assert in_order(committed, run.id, first, second) == ["discarded", "refused: discarded"]

    assert Run.objects.select_related("value").get(id=run.id).value.note == "first"


def test_runs_that_were_requeued_at_a_rate_are_claimed_one_after_the_other(committed: str, clock: Clock) -> None:
    runs = [letter() for _ in range(3)]

    requeue_many(Selection(ids=[run.id for run in runs]), rate="6/m", actor=ACTOR)

    taken = [claimed(10)]
    for _ in range(2):
        clock.advance(5)
        taken.append(claimed(10))
        clock.advance(5.5)
        taken.append(claimed(10))
    assert taken == [[runs[0].id], [], [runs[1].id], [], [runs[2].id]]
