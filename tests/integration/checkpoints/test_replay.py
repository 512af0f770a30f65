"""Replay: a new run from the start or after a checkpoint, with the original's bytes, and the original untouched."""

from typing import Any

import pytest
from django.forms.models import model_to_dict
from django.test import Client

from apps.access.models import AuditEntry
from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay import replay
from apps.runs.errors import RunNotFound
from apps.runs.ids import uuid7
from apps.runs.models import Run
from apps.runs.states import RunState
from tests.factories import bearer, make_attempt, make_checkpoint, make_deployment, make_run, make_task

pytestmark = pytest.mark.django_db

EXACT = '{ "z":1e16,"a":-0.0, "price":10.10,"big":1180591620717411303424}'


@pytest.fixture
def original() -> Run:
    run = make_run(
        state="dead_letter",
        payload=EXACT,
        queue="fast",
        priority=7,
        concurrency_key="c",
        max_attempts=9,
        error={"a": 1},
    )
    make_attempt(run, outcome="failed")
    make_checkpoint(run, "order-fetched", data=EXACT, binds=["order"])
    make_checkpoint(run, "payment-complete", data=EXACT, binds=["payment"], carried='{"items":[1.0]}')
    make_checkpoint(run, "shipped", data="{}")
    return run


def state_of(run: Run) -> list[Any]:
    rows = [Run.objects.get(pk=run.pk), run.value, *run.attempts.all(), *run.checkpoints.all()]
    return [model_to_dict(row) for row in rows]


def test_replay_brings_the_checkpoints_up_to_the_named_one(original: Run) -> None:
    copy = replay(run_id=original.id, from_checkpoint="payment-complete")

    columns = ("key", "index", "data", "carried", "binds", "content_hash", "size_bytes", "created_at")
    brought = list(copy.checkpoints.values(*columns))
    assert [row["key"] for row in brought] == ["order-fetched", "payment-complete"]
    assert brought == list(original.checkpoints.filter(index__lte=1).values(*columns))
    assert set(copy.checkpoints.values_list("attempt", flat=True)) == {0}


def test_replay_has_the_same_payload_options_and_deployment(original: Run) -> None:
    make_task(original.task_id, deployment=make_deployment())

    copy = Run.objects.get(pk=replay(run_id=original.id, from_checkpoint="order-fetched").pk)

    assert copy.state == RunState.PENDING
    assert copy.value.payload == EXACT
    assert copy.value.output is None
    assert copy.value.error is None
    assert copy.deployment_id == original.deployment_id
    assert (copy.queue, copy.priority, copy.concurrency_key, copy.max_attempts) == ("fast", 7, "c", 9)
    assert (copy.attempt_count, copy.started_at, copy.finished_at) == (0, None, None)
    assert (copy.replay_of, copy.replay_from) == (original, "order-fetched")


def test_replay_from_the_start_brings_nothing(original: Run) -> None:
    copy = replay(run_id=original.id, from_checkpoint=None)

    assert copy.checkpoints.count() == 0
    assert copy.replay_from == ""
    assert copy.replay_of == original


@pytest.mark.parametrize("key", [None, "order-fetched"])
def test_the_original_never_changes(original: Run, key: str | None) -> None:
    before = state_of(original)

    replay(run_id=original.id, from_checkpoint=key)

    assert state_of(original) == before


@pytest.mark.parametrize("state", list(RunState))
def test_a_run_in_any_state_may_be_replayed(state: RunState) -> None:
    run = make_run(state=state)
    make_checkpoint(run)

    assert replay(run_id=run.id, from_checkpoint="order-fetched").state == RunState.PENDING
    assert Run.objects.get(pk=run.pk).state == state


def test_a_replay_can_be_replayed(original: Run) -> None:
    first = replay(run_id=original.id, from_checkpoint="payment-complete")

    second = replay(run_id=first.id, from_checkpoint="order-fetched")

    assert second.replay_of == first
    assert list(second.checkpoints.values_list("key", flat=True)) == ["order-fetched"]


@pytest.mark.parametrize("key", ["paid", "", "a\x00b", "Order-fetched"])
def test_an_unknown_key_names_those_that_there_are(original: Run, key: str) -> None:
    with pytest.raises(CheckpointNotFound, match="It has 'order-fetched', 'payment-complete', 'shipped'"):
        replay(run_id=original.id, from_checkpoint=key)

    assert Run.objects.count() == 1
    assert Checkpoint.objects.count() == 3


def test_an_unknown_run() -> None:
    with pytest.raises(RunNotFound):
        replay(run_id=uuid7(), from_checkpoint=None)


def test_over_http_a_replay_is_created_shown_and_audited(client: Client, original: Run) -> None:
    response = client.post(
        f"/api/v1/runs/{original.public_id}/replays",
        {"from_checkpoint": "order-fetched"},
        content_type="application/json",
        headers=bearer("operator"),
    )

    assert response.status_code == 201, response.content
    shown = response.json()
    assert (shown["replay_of"], shown["replay_from"]) == (original.public_id, "order-fetched")
    assert shown["id"] != original.public_id
    assert f'"payload":{EXACT},' in response.content.decode()
    entry = AuditEntry.objects.get(action="runs.replay")
    assert entry.subject == original.public_id
    assert entry.details == {"from_checkpoint": "order-fetched", "new_run": shown["id"]}


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b'{"from_checkpoint": "paid"}', 404, "checkpoint-not-found"),
        (b'{"from_checkpoint": 1}', 422, "request-invalid"),
        (b'{"from": "order-fetched"}', 422, "request-invalid"),
        (b'{"payload": {}}', 422, "request-invalid"),
        (b"{", 400, "payload-malformed"),
    ],
)
def test_over_http_a_wrong_body_is_refused(client: Client, original: Run, body: bytes, status: int, kind: str) -> None:
    address = f"/api/v1/runs/{original.public_id}/replays"

    response = client.generic("POST", address, body, content_type="application/json", headers=bearer("operator"))

    assert response.status_code == status, response.content
    assert response.json()["type"] == f"/problems/{kind}"
    assert Run.objects.count() == 1
    assert AuditEntry.objects.filter(action="runs.replay").count() == 0
