"""Idempotency keys: what counts as the same trigger, what a conflict says, and when a key is free again."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.models.functions import Now
from django.test import Client

from apps.access.models import AuditEntry
from apps.http.errors import PayloadInvalid
from apps.queues.bump import bump
from apps.queues.errors import QueueFull
from apps.queues.models import Queue
from apps.runs.api.schemas import BatchOut, KeyResetOut, TriggeredOut
from apps.runs.errors import IdempotencyConflict, IdempotencyKeyNotFound
from apps.runs.lifecycle import cancel, trigger, trigger_batch
from apps.runs.models import IdempotencyKey, Run, RunValue
from apps.runs.states import RunState
from apps.runs.trigger.idempotency import drop_expired_keys, reset_key
from tests.factories import bearer, make_run, make_task

pytestmark = pytest.mark.django_db

ORDER = {"order_id": "A1", "items": [{"sku": "a", "n": 1}]}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(autouse=True)
def task() -> None:
    make_task()


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    headers = bearer("operator")

    def send(path: str, body: Any) -> Any:
        return client.generic(
            "POST", f"/api/v1{path}", json.dumps(body), content_type="application/json", headers=headers
        )

    return send


def item(key: str | None, payload: Any = None, **options: Any) -> dict[str, Any]:
    keyed = {"idempotency_key": key} if key else {}
    return {"task": "process-order", "payload": payload or {}, "options": {**keyed, **options}}


def expire_keys() -> None:
    IdempotencyKey.objects.update(expires_at=Now() - timedelta(seconds=1))


def test_the_same_trigger_again_is_the_same_run() -> None:
    first = trigger("process-order", ORDER, idempotency_key="k", tags=["a"])
    again = trigger("process-order", ORDER, idempotency_key="k", tags=["a"])

    assert (first.is_duplicate, again.is_duplicate) == (False, True)
    assert (again.id, again.value.payload, again.created_at) == (first.id, first.value.payload, first.created_at)
    assert Run.objects.count() == RunValue.objects.count() == IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ({"payload": {"a": 1, "b": 2}}, {"payload": {"b": 2, "a": 1}}),
        ({"payload": None}, {"payload": {}}),
        ({"traceparent": TRACE}, {}),
        ({"delay": 60}, {"delay": timedelta(minutes=1)}),
        ({"priority": 0, "tags": [], "delay": 0}, {}),
        ({"metadata": {"a": 1, "b": 2}}, {"metadata": {"b": 2, "a": 1}}),
        ({"tags": ["a", "a"]}, {"tags": ("a",)}),
    ],
)
def test_what_says_the_same_counts_as_the_same(first: Any, again: Any) -> None:
    made = trigger("process-order", idempotency_key="k", **first)

    assert trigger("process-order", idempotency_key="k", **again).id == made.id


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"payload": {**ORDER, "order_id": "A2"}}, "payload.order_id"),
        ({"payload": {"order_id": "A1"}}, "payload.items"),
        ({"payload": {**ORDER, "extra": None}}, "payload.extra"),
        ({"payload": {**ORDER, "items": [{"sku": "a", "n": 1.0}]}}, "payload.items"),
        ({"queue": "fast"}, "options.queue"),
        ({"priority": 5}, "options.priority"),
        ({"concurrency_key": "c"}, "options.concurrency_key"),
        ({"tags": ["b"]}, "options.tags"),
        ({"max_attempts": 9}, "options.max_attempts"),
        ({"metadata": {"a": 1}}, "options.metadata"),
        ({"delay": 60}, "options"),
        ({"ttl": 60}, "options"),
    ],
)
def test_another_trigger_with_the_key_is_a_conflict_that_says_what_differs(change: Any, path: str) -> None:
    first = trigger("process-order", ORDER, idempotency_key="k")

    with pytest.raises(IdempotencyConflict) as refusal:
        trigger("process-order", **{"payload": ORDER, "idempotency_key": "k", **change})

    assert [error.path for error in refusal.value.errors] == [path]
    assert refusal.value.run == first.public_id
    assert first.public_id in refusal.value.detail
    assert Run.objects.count() == 1


@pytest.mark.parametrize("state", list(RunState))
def test_the_key_holds_whatever_became_of_its_run(state: RunState) -> None:
    first = trigger("process-order", idempotency_key="k")
    other = make_run(state=state)
    IdempotencyKey.objects.update(run=other)

    assert trigger("process-order", idempotency_key="k").id == other.id
    assert first.id != other.id


def test_a_key_is_one_tasks_own() -> None:
    make_task("send-receipt")

    assert trigger("process-order", idempotency_key="k").id != trigger("send-receipt", idempotency_key="k").id


def test_a_bumped_run_is_still_its_keys() -> None:
    first = trigger("process-order", idempotency_key="k", priority=5)
    bump(run_id=first.id)

    assert trigger("process-order", idempotency_key="k", priority=5).id == first.id
    with pytest.raises(IdempotencyConflict) as refusal:
        trigger("process-order", {"n": 1}, idempotency_key="k", priority=5)
    assert [error.path for error in refusal.value.errors] == ["payload.n"]


def test_an_expired_key_stands_for_a_new_run() -> None:
    first = trigger("process-order", ORDER, idempotency_key="k")
    expire_keys()

    second = trigger("process-order", {"other": 1}, idempotency_key="k", idempotency_key_ttl=timedelta(hours=1))

    assert (second.is_duplicate, second.id == first.id) == (False, False)
    key = IdempotencyKey.objects.annotate(now=Now()).get()
    assert key.run_id == second.id
    assert timedelta(minutes=59) < key.expires_at - key.now <= timedelta(hours=1, seconds=5)


def test_a_key_lasts_thirty_days() -> None:
    trigger("process-order", idempotency_key="k")

    key = IdempotencyKey.objects.annotate(now=Now()).get()
    assert abs(key.expires_at - key.now - timedelta(days=30)) < timedelta(minutes=1)


def test_a_key_whose_run_was_deleted_by_hand_is_free() -> None:
    first = trigger("process-order", idempotency_key="k")
    IdempotencyKey.objects.update(run="01900000-0000-7000-8000-000000000000")

    second = trigger("process-order", {"n": 1}, idempotency_key="k")

    assert not second.is_duplicate
    assert second.id != first.id
    assert IdempotencyKey.objects.get().run_id == second.id


def test_nothing_remains_of_a_transaction_that_was_undone() -> None:
    with transaction.atomic():
        trigger("process-order", idempotency_key="k")
        transaction.set_rollback(True)

    assert not IdempotencyKey.objects.exists()
    assert not trigger("process-order", idempotency_key="k").is_duplicate


def test_a_conflict_leaves_the_callers_transaction_usable() -> None:
    with transaction.atomic():
        trigger("process-order", idempotency_key="k")
        with pytest.raises(IdempotencyConflict):
            trigger("process-order", {"n": 1}, idempotency_key="k")
        trigger("process-order", idempotency_key="k2")

    assert Run.objects.count() == 2


def test_a_refused_payload_takes_no_key() -> None:
    make_task(payload_schema={"type": "object", "required": ["n"]})
    with pytest.raises(PayloadInvalid):
        trigger("process-order", idempotency_key="k")

    assert not IdempotencyKey.objects.exists()


def test_a_known_key_is_answered_though_the_queue_is_full() -> None:
    Queue.objects.create(name="process-order", max_depth=1)
    first = trigger("process-order", idempotency_key="k")

    with pytest.raises(QueueFull):
        trigger("process-order", idempotency_key="k2")

    assert trigger("process-order", idempotency_key="k").id == first.id
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["k"]


def test_duplicates_in_a_batch_get_their_runs() -> None:
    known = trigger("process-order", ORDER, idempotency_key="known")

    runs = trigger_batch([item("new"), item("known", ORDER), item(None), item("new"), item("known", ORDER)])

    assert [run.is_duplicate for run in runs] == [False, True, False, True, True]
    assert runs[1].id == runs[4].id == known.id
    assert runs[0].id == runs[3].id != runs[2].id
    assert Run.objects.count() == 3


@pytest.mark.parametrize(
    ("items", "place", "path"),
    [
        ([item(None), item("known")], "items[1]", "items[1].payload.order_id"),
        ([item("new"), item("new", {"n": 1})], "items[1]", "items[1].payload.n"),
        ([item("known"), item("known", ORDER)], "items[0]", "items[0].payload.order_id"),
    ],
)
def test_a_conflict_refuses_the_whole_batch_and_names_the_item(items: Any, place: str, path: str) -> None:
    trigger("process-order", ORDER, idempotency_key="known")

    with pytest.raises(IdempotencyConflict) as refusal:
        trigger_batch(items)

    assert refusal.value.detail.startswith(place)
    assert refusal.value.errors[0].path == path
    assert Run.objects.count() == IdempotencyKey.objects.count() == 1


def test_answers_over_http(post: Any) -> None:
    body = {"payload": ORDER, "options": {"idempotency_key": "k"}}

    made = post("/tasks/process-order/runs", body)
    known = post("/tasks/process-order/runs", body)
    other = post("/tasks/process-order/runs", {"options": {"idempotency_key": "k"}})

    assert (made.status_code, known.status_code, other.status_code) == (201, 200, 409)
    first, again = (TriggeredOut.model_validate(answer.json()) for answer in (made, known))
    assert (first.is_duplicate, again.is_duplicate) == (False, True)
    assert (first.id, first.idempotency_key) == (again.id, "k")
    problem = other.json()
    assert (problem["type"], problem["run"]) == ("/problems/idempotency-conflict", first.id)
    assert sorted(error["path"] for error in problem["errors"]) == ["payload.items", "payload.order_id"]


def test_batch_answers_over_http(post: Any) -> None:
    items = [item("a"), item("b")]

    made, more, known = (post("/batches", {"items": wanted}) for wanted in (items, [*items, item("c")], items))

    assert (made.status_code, more.status_code, known.status_code) == (201, 201, 200)
    shown = BatchOut.model_validate(more.json()).items
    assert [run.is_duplicate for run in shown] == [True, True, False]
    conflict = post("/batches", {"items": [item("d"), item("a", {"n": 1})]})
    assert conflict.status_code == 409
    assert conflict.json()["errors"][0]["path"] == "items[1].payload.n"
    assert Run.objects.count() == 3


def test_a_canceled_run_is_answered_as_it_is(post: Any) -> None:
    body = {"options": {"idempotency_key": "k"}}
    post("/tasks/process-order/runs", body)
    cancel(Run.objects.get().id)

    assert post("/tasks/process-order/runs", body).json()["state"] == "canceled"


def test_expired_keys_are_removed_page_by_page() -> None:
    trigger_batch([item(f"old-{number}") for number in range(5)])
    expire_keys()
    trigger("process-order", idempotency_key="young")

    assert [drop_expired_keys(limit=3) for _ in range(3)] == [3, 2, 0]
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]
    assert Run.objects.count() == 6


def test_freed_key_makes_a_new_run_and_leaves_the_failed_one_alone(client: Client, post: Callable[..., Any]) -> None:
    failed = trigger("process-order", ORDER, idempotency_key="a/b\nc")
    Run.objects.filter(id=failed.id).update(state=RunState.DEAD_LETTER, finished_at=Now())
    known = post("/tasks/process-order/runs", {"payload": ORDER, "options": {"idempotency_key": "a/b\nc"}})
    address = "/api/v1/tasks/process-order/idempotency-keys/a/b%0Ac"

    freed = client.delete(address, headers=bearer("operator"))

    assert (known.json()["is_duplicate"], known.json()["state"]) == (True, "dead_letter")
    assert freed.status_code == 200, freed.text
    assert KeyResetOut.model_validate(freed.json()).model_dump() == {
        "task": "process-order", "key": "a/b\nc", "run": failed.public_id, "state": "dead_letter"
    }  # fmt: skip
    assert AuditEntry.objects.get(action="idempotency_keys.reset").subject == failed.public_id
    assert trigger("process-order", ORDER, idempotency_key="a/b\nc").id != failed.id
    assert Run.objects.get(id=failed.id).state == "dead_letter"


def test_only_operators_free_keys(client: Client) -> None:
    trigger("process-order", ORDER, idempotency_key="k")

    answer = client.delete("/api/v1/tasks/process-order/idempotency-keys/k", headers=bearer("viewer"))

    assert answer.status_code == 403
    assert IdempotencyKey.objects.count() == 1


@pytest.mark.parametrize("key", ["other", "a\0"])
def test_key_that_stands_for_no_run_cannot_be_freed(key: str) -> None:
    trigger("process-order", ORDER, idempotency_key="k")
    with pytest.raises(IdempotencyKeyNotFound, match="stands for no run"):
        reset_key(task_id="process-order", key=key)

    expire_keys()

    with pytest.raises(IdempotencyKeyNotFound):
        reset_key(task_id="process-order", key="k")


def test_conflict_tells_the_state_of_the_run() -> None:
    first = trigger("process-order", ORDER, idempotency_key="k")

    with pytest.raises(IdempotencyConflict, match=rf"{first.public_id} \(pending\)"):
        trigger("process-order", {}, idempotency_key="k")
