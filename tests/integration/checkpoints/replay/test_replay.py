"""Replay: a new run from the start or after any entry, with the original's bytes, and the original untouched."""

from typing import Any

import pytest
from django.db import connection
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.plan import ReplayRequest
from apps.runs.errors import RunNotFound
from apps.runs.models import BUMPED_PRIORITY, Run, RunValue
from apps.runs.states import RunState
from apps.storage.ids import uuid7
from tests.factories import make_checkpoint, make_run
from tests.integration.checkpoints.orders import EXACT, again, deploy, order_with, original_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def original() -> Run:
    return original_run()


def rows_of(run: Run) -> list[Any]:
    rows = [Run.objects.get(pk=run.pk), run.value, *run.attempts.order_by("number"), *run.checkpoints.order_by("index")]
    return [model_to_dict(row) for row in rows]


def test_it_brings_checkpoints_and_steps_up_to_the_named_one(original: Run) -> None:
    copy = again(original, "payment-complete")

    columns = [
        "key", "kind", "index", "data", "carried", "binds", "content_hash", "size_bytes", "codec", "duration_seconds",
        "is_edited", "created_at",
    ]  # fmt: skip
    brought = list(copy.checkpoints.order_by("index").values(*columns))
    assert [row["key"] for row in brought] == ["order-fetched", "page-1", "payment-complete"]
    assert brought == list(original.checkpoints.filter(index__lte=2).order_by("index").values(*columns))
    assert set(copy.checkpoints.values_list("attempt", flat=True)) == {0}


def test_it_may_begin_after_a_step(original: Run) -> None:
    copy = again(original, "page-1")

    assert list(copy.checkpoints.order_by("index").values_list("key", flat=True)) == ["order-fetched", "page-1"]
    assert copy.replay_from == "page-1"


def test_a_step_before_any_checkpoint_is_reused_and_the_code_begins_at_its_start() -> None:
    deploy()
    run = make_run(state="dead_letter")
    make_checkpoint(run, "page-0", kind="step", data="[1]")

    copy = again(run, "page-0")

    assert list(copy.checkpoints.values_list("key", "kind")) == [("page-0", "step")]


def test_it_has_the_payload_options_and_deployment_of_the_original(original: Run) -> None:
    deploy()

    copy = Run.objects.get(pk=again(original, "order-fetched").pk)

    assert copy.state == RunState.PENDING
    assert copy.value.payload == '{"order_id":"A1", "total":10.10}'
    assert (copy.value.output, copy.value.error) == (None, None)
    assert copy.deployment_id == original.deployment_id
    assert (copy.queue, copy.priority, copy.concurrency_key, copy.max_attempts) == ("fast", 7, "c", 9)
    assert (copy.attempt_count, copy.started_at, copy.finished_at) == (0, None, None)
    assert (copy.replay_of, copy.replay_from) == (original, "order-fetched")


@pytest.mark.parametrize("is_edited", [False, True])
def test_it_has_tags_and_metadata_and_no_bump(original: Run, is_edited: bool) -> None:
    Run.objects.filter(pk=original.pk).update(tags=["eu"], priority=BUMPED_PRIORITY)
    RunValue.objects.filter(run=original).update(metadata={"source": "shop"})
    edits = {"payload": {"order_id": "B2"}} if is_edited else {}

    copy = again(original, None, **edits)

    copy.refresh_from_db()
    value = RunValue.objects.get(run=copy)
    assert (copy.tags, copy.priority, value.metadata) == (["eu"], 100, {"source": "shop"})


def test_from_the_start_it_brings_nothing(original: Run) -> None:
    copy = again(original)

    assert copy.checkpoints.count() == 0
    assert (copy.replay_of, copy.replay_from) == (original, "")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": "page-1"},
        {"key": "order-fetched", "checkpoint_data": {"order-fetched": order_with(price=1)}},
        {"key": "page-1", "payload": {"order_id": "B2"}, "checkpoint_data": {"page-1": None}},
    ],
    ids=["start", "step", "edited data", "edited payload and step"],
)
def test_the_original_never_changes(original: Run, fields: dict[str, Any]) -> None:
    before = rows_of(original)

    again(original, **fields)

    assert rows_of(original) == before


@pytest.mark.parametrize("state", list(RunState))
def test_a_run_in_any_state_may_be_replayed(state: RunState) -> None:
    run = original_run(state=state)

    assert again(run, "order-fetched").state == RunState.PENDING
    assert Run.objects.get(pk=run.pk).state == state


def test_a_replay_can_be_replayed(original: Run) -> None:
    first = again(original, "payment-complete", checkpoint_data={"page-1": [2]})

    second = again(first, "page-1")

    assert second.replay_of == first
    assert list(second.checkpoints.order_by("index").values_list("key", "data", "is_edited")) == [
        ("order-fetched", f'{{"order":{EXACT},"note":"x"}}', False),
        ("page-1", "[2]", True),
    ]


@pytest.mark.parametrize("key", ["paid", "", "a\x00b", "Order-fetched", "\ud800", "k" * 10_000])
def test_an_unknown_key_names_those_that_there_are(original: Run, key: str) -> None:
    with pytest.raises(CheckpointNotFound, match="It has 'order-fetched', 'page-1', 'payment-complete', 'shipped'"):
        again(original, key)

    assert Run.objects.count() == 1
    assert Checkpoint.objects.count() == 4


def test_an_unknown_run() -> None:
    with pytest.raises(RunNotFound):
        replay(ReplayRequest(run_id=uuid7()))


def scope_of(run: Run) -> Any:
    return Run.objects.values_list("idempotency_scope", flat=True).get(pk=run.pk)


def test_idempotency_keys_are_those_of_the_first_run_until_something_is_edited(original: Run) -> None:
    plain = again(original, "page-1")
    of_plain = again(plain)
    edited = again(of_plain, payload={"order_id": "B2"})
    of_edited = again(edited)

    assert (scope_of(plain), scope_of(of_plain)) == (original.id, original.id)
    assert scope_of(edited) is None
    assert scope_of(of_edited) == edited.id


@pytest.mark.parametrize(
    ("fields", "is_inherited"),
    [
        ({"has_new_keys": True}, False),
        ({"checkpoint_data": {"page-1": [1]}}, False),
        ({"checkpoint_data": {"order-fetched": order_with(price=11)}}, False),
        ({"payload": {"order_id": "A1", "total": 10.10}}, True),
        ({"checkpoint_data": {"order-fetched": order_with()}}, True),
        ({"checkpoint_data": {"page-1": {"big": 2**70, "z": 1e16, "a": -0.0, "price": 10.1}}}, True),
    ],
    ids=["asked for", "step edited", "data edited", "same payload", "same data", "same step"],
)
def test_what_makes_new_idempotency_keys(original: Run, fields: dict[str, Any], is_inherited: bool) -> None:
    copy = again(original, "page-1", **fields)

    assert scope_of(copy) == (original.id if is_inherited else None)


def test_an_edit_that_is_made_again_ends_the_inheritance(original: Run) -> None:
    """Without it the same key would stand for another effect than in the run before."""
    edited = again(original, "page-1", checkpoint_data={"page-1": [1]})

    assert scope_of(again(edited, "page-1")) == edited.id
    assert scope_of(again(edited, "order-fetched")) is None


@pytest.mark.parametrize("extra_entries", [0, 500])
def test_the_count_of_queries_does_not_grow_with_the_run(original: Run, extra_entries: int) -> None:
    for number in range(extra_entries):
        make_checkpoint(original, f"step-{number}", kind="step", data="1", index=4 + number)
    wanted = ReplayRequest(
        run_id=original.id,
        from_checkpoint="shipped",
        payload={"order_id": "B2"},
        checkpoint_data={"page-1": [1], "payment-complete": {"payment": 2}},
    )

    with CaptureQueriesContext(connection) as queries:
        replay(wanted)

    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 7, statements
