"""Many dead letters at once: each is judged as alone, what is refused stays, and nothing that others did is undone."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.access.permissions import Actor
from apps.checkpoints.errors import DeploymentNotFound
from apps.http.answers import timestamp
from apps.http.cursors import write_cursor
from apps.queues.dead_letters import many as bulk
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.queues.dead_letters.many import Selection, discard_many, requeue_many
from apps.queues.errors import SelectionInvalid
from apps.runs.models import Run
from apps.storage.ids import public_id, uuid7
from tests.factories import make_checkpoint, make_deployment, make_run
from tests.integration.checkpoints.orders import deploy, original_run, point
from tests.integration.queues.letters import letter, states

pytestmark = pytest.mark.django_db

ACTOR = Actor("olga", frozenset())


def everything(**filters: Any) -> Selection:
    return Selection(chosen=DEAD_LETTER_FILTERS.of(**filters))


def test_all_are_pending_again_with_a_fresh_budget_and_audited_one_by_one() -> None:
    made = [letter() for _ in range(3)]

    outcome = requeue_many(everything(), actor=ACTOR)

    assert (outcome.moved_count, outcome.refused, outcome.next) == (3, [], None)
    for run in made:
        stored = Run.objects.select_related("value").get(pk=run.pk)
        assert (stored.state, stored.finished_at, stored.due_at, stored.budget_base) == ("pending", None, None, 3)
        assert stored.value.error == {"type": "Declined", "message": "no money", "stack": "x" * 100}
        entry = AuditEntry.objects.get(subject=run.public_id)
        assert (entry.actor, entry.action, entry.details) == ("olga", "runs.requeue", {"deployment": "original"})


def test_at_a_rate_each_has_its_time_in_the_order_asked_for() -> None:
    made = [letter() for _ in range(5)]
    given = [made[n].id for n in (3, 1, 4, 0, 2)]

    requeue_many(Selection(ids=given), rate="10/s", actor=ACTOR)

    due = {run.id: run.due_at for run in Run.objects.filter(state="delayed")}
    first = due[given[0]]
    assert first is not None
    offsets = [(due[run_id] - first).total_seconds() for run_id in given]  # type: ignore[operator]
    assert offsets == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert abs((first - datetime.now(UTC)).total_seconds()) < 20


def test_next_call_continues_after_the_last_and_keeps_the_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MANY_LIMIT", 4)
    monkeypatch.setattr(bulk, "CHUNK", 3)
    made = [letter() for _ in range(6)]
    made.append(letter())

    first = requeue_many(everything(task="noop"), rate="2/m", actor=ACTOR)
    second = requeue_many(
        Selection(chosen=DEAD_LETTER_FILTERS.of(task="noop"), cursor=first.next or ""), rate="2/m", actor=ACTOR
    )

    assert (first.moved_count, second.moved_count, second.next) == (4, 3, None)
    due = [Run.objects.get(pk=run.pk).due_at for run in made]
    assert [(at - due[0]).total_seconds() for at in due] == pytest.approx([0, 30, 60, 90, 120, 150, 180])  # type: ignore[operator]


def cursor_of(due_at: datetime) -> str:
    return write_cursor(bulk.LISTING, public_id("run", UUID(int=0)), timestamp(due_at))


def test_calls_that_follow_each_other_end_within_a_year() -> None:
    for _ in range(3):
        letter()
    late = cursor_of(datetime.now(UTC) + timedelta(days=363))

    with pytest.raises(SelectionInvalid) as caught:
        requeue_many(Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor=late), rate="1/d", actor=ACTOR)

    assert [error.path for error in caught.value.errors] == ["rate"]
    assert set(states().values()) == {"dead_letter"}


def test_call_that_comes_late_begins_now() -> None:
    run = letter()
    early = cursor_of(datetime.now(UTC) - timedelta(days=3))
    before = datetime.now(UTC) - timedelta(minutes=1)

    requeue_many(Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor=early), rate="1/d", actor=ACTOR)

    due_at = Run.objects.get(id=run.id).due_at
    assert due_at is not None
    assert due_at > before


def test_what_cannot_go_on_is_named_and_stays_and_takes_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    good, renamed, fresh = original_run(), original_run(), original_run()
    deploy([point("order-fetched", ["order"]), point("shipped", ["order"])])
    make_checkpoint(renamed, "of-no-code")

    outcome = requeue_many(Selection(ids=[good.id, renamed.id, fresh.id]), deployment="latest", rate="1/s", actor=ACTOR)

    assert outcome.moved_count == 2
    (refused,) = outcome.refused
    assert refused.run_id == renamed.id
    assert "has no checkpoint 'of-no-code' to continue after" in refused.reason
    assert states() == {good.public_id: "delayed", renamed.public_id: "dead_letter", fresh.public_id: "delayed"}
    times = [Run.objects.get(pk=run.pk).due_at for run in (good, fresh)]
    assert (times[1] - times[0]).total_seconds() == pytest.approx(1)  # type: ignore[operator]
    assert not AuditEntry.objects.filter(subject=renamed.public_id).exists()


def test_named_runs_in_other_states_are_refused_one_by_one() -> None:
    good, done, nobody = letter(), make_run("noop", state="completed"), uuid7()

    requeued = requeue_many(Selection(ids=[done.id, good.id, nobody, good.id]), actor=ACTOR)
    discarded = discard_many(Selection(ids=[good.id, done.id]), note="x", actor=ACTOR)

    assert requeued.moved_count == 1
    assert [(each.run_id, each.reason) for each in requeued.refused] == [
        (done.id, "A completed run cannot be requeued, only a dead letter."),
        (nobody, "There is no such run."),
    ]
    assert (discarded.moved_count, [each.reason for each in discarded.refused]) == (
        0,
        [
            "A pending run cannot be discarded, only a dead letter.",
            "A completed run cannot be discarded, only a dead letter.",
        ],
    )


def test_deployment_of_another_task_set_is_refused_run_by_run_and_an_unknown_one_at_once() -> None:
    run = letter()
    strange = make_deployment("strangers")

    outcome = requeue_many(everything(), deployment=strange.public_id, actor=ACTOR)

    assert (outcome.moved_count, len(outcome.refused)) == (0, 1)
    assert "task set" in outcome.refused[0].reason
    for wanted in ("nope", public_id("dep", uuid7())):
        with pytest.raises(DeploymentNotFound):
            requeue_many(everything(), deployment=wanted, actor=ACTOR)
    assert states() == {run.public_id: "dead_letter"}


def test_same_call_again_changes_nothing_more() -> None:
    letter()

    assert requeue_many(everything(), actor=ACTOR).moved_count == 1
    assert requeue_many(everything(), actor=ACTOR).moved_count == 0
    assert AuditEntry.objects.count() == 1


def test_chunk_that_fails_leaves_the_others_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed stays; the next call does the rest."""
    monkeypatch.setattr(bulk, "CHUNK", 2)
    made = [letter() for _ in range(5)]
    real, calls = bulk.saved_entries_of, []

    def fail_at_the_second(run_ids: Any) -> Any:
        calls.append(run_ids)
        if len(calls) == 2:
            raise ConnectionError("away")
        return real(run_ids)

    monkeypatch.setattr(bulk, "saved_entries_of", fail_at_the_second)
    with pytest.raises(ConnectionError):
        requeue_many(everything(), actor=ACTOR)
    between = [Run.objects.get(pk=run.pk).state for run in made]

    assert requeue_many(everything(), actor=ACTOR).moved_count == 3
    assert between == ["pending"] * 2 + ["dead_letter"] * 3
    assert AuditEntry.objects.count() == 5


def test_queries_grow_by_chunks_and_not_by_runs() -> None:
    for _ in range(2):
        letter()
    with CaptureQueriesContext(connection) as few:
        requeue_many(everything(), actor=ACTOR)
    for _ in range(40):
        letter()

    with CaptureQueriesContext(connection) as many:
        requeue_many(everything(), actor=ACTOR)

    assert len(many) == len(few)


@pytest.mark.parametrize(
    ("selection", "rate", "path"),
    [
        (Selection(), None, "ids"),
        (Selection(ids=[uuid7()], chosen=DEAD_LETTER_FILTERS.of()), None, "ids"),
        (Selection(ids=[]), None, "ids"),
        (Selection(ids=[uuid7() for _ in range(10_001)]), None, "ids"),
        (Selection(ids=[uuid7()], cursor=public_id("run", uuid7())), None, "cursor"),
        (Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor="run_x"), None, "cursor"),
        (Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor=public_id("run", uuid7())), None, "cursor"),
        (
            Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor=f"{public_id('run', uuid7())}@9999-12-31T23:00Z"),
            None,
            "cursor",
        ),
        (
            Selection(chosen=DEAD_LETTER_FILTERS.of(), cursor=write_cursor("runs", public_id("run", uuid7()))),
            None,
            "cursor",
        ),
        (Selection(chosen=DEAD_LETTER_FILTERS.of(search="a\0")), None, "filter.search"),
        (Selection(chosen=DEAD_LETTER_FILTERS.of()), "10 per second", "rate"),
        (Selection(chosen=DEAD_LETTER_FILTERS.of()), "", "rate"),
        (Selection(ids=[uuid7() for _ in range(400)]), "1/d", "rate"),
    ],
)
def test_selection_that_says_nothing_clear_is_refused(selection: Selection, rate: str | None, path: str) -> None:
    run = letter()

    with pytest.raises(SelectionInvalid) as caught:
        requeue_many(selection, rate=rate, actor=ACTOR)

    assert [error.path for error in caught.value.errors] == [path]
    assert states() == {run.public_id: "dead_letter"}
