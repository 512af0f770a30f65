"""What a preview tells: reused and repeated entries, segments with their changes, keys, warnings, every refusal."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.checkpoints.errors import CheckpointNotFound, DeploymentNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.plan import ReplayRequest
from apps.checkpoints.replay.preview import ReplayPreview, preview
from apps.runs.errors import RunNotFound
from apps.runs.models import Run
from apps.storage.ids import uuid7
from tests.factories import make_attempt, make_checkpoint, make_run
from tests.integration.checkpoints.orders import POINTS, TASK, deploy, order_with, original_run, point

pytestmark = pytest.mark.django_db


@pytest.fixture
def original() -> Run:
    return original_run()


def shown(run: Run, key: str | None = None, **fields: Any) -> ReplayPreview:
    return preview(ReplayRequest(run_id=run.id, from_checkpoint=key, **fields))


def segments(found: ReplayPreview) -> list[tuple[str | None, str | None, bool, bool | None]]:
    return [(item.from_key, item.to_key, item.is_reused, item.is_changed) for item in found.segments]


def changes(found: ReplayPreview) -> dict[str, bool | None]:
    return {entry.key: entry.is_code_changed for entry in found.reused}


def test_it_says_what_is_reused_and_what_runs_again(original: Run) -> None:
    found = shown(original, "page-1")

    assert [(entry.key, entry.kind, entry.index) for entry in found.reused] == [
        ("order-fetched", "checkpoint", 0),
        ("page-1", "step", 1),
    ]
    assert found.runs_again == ["payment-complete", "shipped"]
    assert found.resumes_after == "order-fetched"
    assert segments(found) == [
        (None, "order-fetched", True, False),
        ("order-fetched", "payment-complete", False, False),
        ("payment-complete", "shipped", False, False),
        ("shipped", None, False, False),
    ]
    assert (found.deployment, found.original_deployment, found.is_other_deployment) == (
        original.deployment,
        original.deployment,
        False,
    )
    assert not found.refusals


def test_from_the_start_nothing_is_reused(original: Run) -> None:
    found = shown(original)

    assert (found.reused, found.resumes_after) == ([], None)
    assert found.runs_again == ["order-fetched", "page-1", "payment-complete", "shipped"]
    assert not any(segment.is_reused for segment in found.segments)


def test_it_writes_nothing(original: Run) -> None:
    with CaptureQueriesContext(connection) as queries:
        shown(original, "page-1", payload={"order_id": "B"}, checkpoint_data={"page-1": 1}, deployment="latest")

    assert all(query["sql"].startswith("SELECT") for query in queries)
    assert (Run.objects.count(), Checkpoint.objects.count()) == (1, 4)


def test_changed_code_is_told_for_each_segment_and_entry(original: Run) -> None:
    newest = deploy(segments=["s0", "CHANGED", "s2", "CHANGED"])

    found = shown(original, "payment-complete", deployment="latest")

    assert segments(found) == [
        (None, "order-fetched", True, False),
        ("order-fetched", "payment-complete", True, True),
        ("payment-complete", "shipped", False, False),
        ("shipped", None, False, True),
    ]
    assert changes(found) == {"order-fetched": False, "page-1": True, "payment-complete": True}
    assert (found.deployment, found.newest_deployment, found.is_other_deployment) == (newest, newest, True)
    assert found.warnings == [
        "The code that made 'page-1', 'payment-complete' is another one in orders v2; its old data is reused."
    ]


def test_a_checkpoint_that_was_put_between_changes_the_segment(original: Run) -> None:
    deploy([POINTS[0], point("taxed"), *POINTS[1:]], ["s0", "s1", "new", "s2", "s3"])

    found = shown(original, "payment-complete", deployment="latest")

    assert changes(found) == {"order-fetched": False, "page-1": True, "payment-complete": True}
    assert segments(found)[1:3] == [("order-fetched", "taxed", True, True), ("taxed", "payment-complete", True, True)]


@pytest.mark.parametrize(("old", "new"), [((), "s"), ("s", ())])
def test_without_source_hashes_on_either_side_nothing_is_known(old: Any, new: Any) -> None:
    deploy([POINTS[0]], ["a", "b"] if old else [])
    run = make_run(TASK, state="dead_letter")
    make_attempt(run, outcome="failed")
    make_checkpoint(run, "order-fetched", data='{"order":1,"note":2}', binds=["order"])
    deploy([POINTS[0]], ["a", "b"] if new else [])

    found = shown(run, "order-fetched", deployment="latest")

    assert changes(found) == {"order-fetched": None}
    assert {segment.is_changed for segment in found.segments} == {None}
    assert changes(shown(run, "order-fetched")) == {"order-fetched": False}


def test_an_entry_is_compared_with_the_code_of_the_attempt_that_made_it(original: Run) -> None:
    second = deploy(segments=["CHANGED", "s1", "s2", "s3"])
    make_attempt(original, outcome="failed", deployment=second)
    Run.objects.filter(pk=original.pk).update(deployment=second)
    original.checkpoints.filter(key="payment-complete").update(attempt=2)

    found = shown(original, "payment-complete", deployment=second.public_id)

    assert changes(found) == {"order-fetched": True, "page-1": False, "payment-complete": False}


def test_what_replays_brought_along_is_compared_with_the_code_that_once_made_it(original: Run) -> None:
    second = deploy(segments=["s0", "CHANGED", "s2", "s3"])
    first = replay(ReplayRequest(run_id=original.id, from_checkpoint="page-1", deployment="latest"))
    make_attempt(first, outcome="failed", deployment=second)
    make_checkpoint(first, "payment-complete", data='{"payment":1}', binds=["payment"], attempt=1)
    again = replay(ReplayRequest(run_id=first.id, from_checkpoint="payment-complete"))

    found = shown(again, "payment-complete")

    assert changes(found) == {"order-fetched": False, "page-1": True, "payment-complete": False}
    Run.objects.filter(pk=first.pk).update(replay_of=None)
    assert changes(shown(again, "page-1")) == {"order-fetched": None, "page-1": None}


def test_an_edited_entry_is_marked_with_its_new_size(original: Run) -> None:
    found = shown(original, "page-1", checkpoint_data={"page-1": [1]})

    assert [(entry.key, entry.is_edited, entry.size_bytes) for entry in found.reused][1] == ("page-1", True, 3)
    assert [entry.is_edited for entry in found.reused] == [False, True]


@pytest.mark.parametrize(
    ("fields", "uses_original", "reason"),
    [
        ({}, True, "uses the original's idempotency keys"),
        ({"has_new_keys": True}, False, "as asked for"),
        ({"payload": {"order_id": "B"}}, False, "since the payload is edited"),
        ({"checkpoint_data": {"page-1": 1}}, False, "since the data is edited"),
        ({"payload": {"order_id": "B"}, "checkpoint_data": {"page-1": 1}}, False, "the payload and data are edited"),
    ],
)
def test_it_says_which_idempotency_keys_and_why(
    original: Run, fields: dict[str, Any], uses_original: bool, reason: str
) -> None:
    Run.objects.filter(pk=original.pk).update(started_at="2026-01-01T00:00:00Z")

    found = shown(original, "page-1", **fields)

    assert found.uses_original_keys is uses_original
    assert reason in found.keys_reason
    assert any("may repeat" in warning for warning in found.warnings) is not uses_original


def test_it_warns_of_an_original_that_has_not_ended() -> None:
    deploy()
    run = make_run(TASK, state="running")

    assert shown(run).warnings == ["The original is running and may do the same work meanwhile."]


def test_it_warns_of_an_edit_that_no_code_reads(original: Run) -> None:
    found = shown(original, "page-1", checkpoint_data={"order-fetched": {**order_with(), "note": "y"}})

    assert (
        "`note` of 'order-fetched' is stored to be looked at: no code continues with its new value." in found.warnings
    )


def test_every_refusal_is_listed_and_none_is_raised(original: Run) -> None:
    schema = {"type": "object", "properties": {"order_id": {"type": "integer"}}}
    deploy([point("shipped", needs=["gone"])], payload_schema=schema)

    found = shown(original, "shipped", deployment="latest", checkpoint_data={"nope": 1})

    assert {refusal.path for refusal in found.refusals} == {"deployment", "checkpoint_data.nope", "payload.order_id"}
    assert found.resumes_after == "shipped"


def test_a_payload_that_is_too_large_is_a_refusal(original: Run) -> None:
    assert [error.path for error in shown(original, payload={"a": "x" * 3_000_000}).refusals] == ["payload"]


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"key": "nope"}, CheckpointNotFound), ({"deployment": "nope"}, DeploymentNotFound)],
)
def test_what_is_not_there_is_raised(original: Run, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        shown(original, **fields)
    with pytest.raises(RunNotFound):
        preview(ReplayRequest(run_id=uuid7()))


def test_the_count_of_queries_does_not_grow_with_the_run(original: Run) -> None:
    deploy(segments=["s0", "CHANGED", "s2", "s3"])
    for number in range(300):
        make_checkpoint(original, f"step-{number}", kind="step", data="1", index=4 + number)

    with CaptureQueriesContext(connection) as queries:
        found = shown(original, "step-299", deployment="latest", checkpoint_data={"page-1": 1})

    assert len(found.reused) == 304
    assert len(queries) == 7, [query["sql"] for query in queries]
