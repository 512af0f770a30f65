"""Batches: as many runs as are asked for, in their order, or none and the item that is to blame."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from trigger_sdk import Client as SdkClient

from apps.http.errors import PayloadInvalid, PayloadTooLarge, Refusal
from apps.http.values import VALUE_MAX_BYTES
from apps.runs.api.schemas import BatchOut
from apps.runs.errors import BatchInvalid, TaskNotFound
from apps.runs.lifecycle import trigger_batch
from apps.runs.models import IdempotencyKey, Run, RunValue
from tests.factories import ORDER_SCHEMA, bearer, make_task
from tests.live_server import LiveServer, running_server


def nothing_was_made() -> bool:
    return not (Run.objects.exists() or RunValue.objects.exists() or IdempotencyKey.objects.exists())


@pytest.fixture
def post(client: Client) -> Callable[..., Any]:
    headers = bearer("operator")

    def send(path: str, body: Any, **more: str) -> Any:
        raw = json.dumps(body) if not isinstance(body, (str, bytes)) else body
        return client.generic(
            "POST", f"/api/v1{path}", raw, content_type="application/json", headers={**headers, **more}
        )

    return send


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    headers = bearer("operator")
    with running_server(headers) as live:
        monkeypatch.setenv("TRIGGER_URL", live.url)
        monkeypatch.setenv("TRIGGER_API_KEY", headers["Authorization"].removeprefix("Bearer "))
        yield live


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("items", "path"),
    [
        (None, "items"),
        ({}, "items"),
        ([], "items"),
        ([{"task": "process-order"}] * 1001, "items"),
        ([{"task": "process-order"}, 5], "items[1]"),
        ([{}], "items[0].task"),
        ([{"task": 5}], "items[0].task"),
        ([{"task": "process-order", "option": {}}], "items[0].option"),
        ([{"task": "process-order", "options": []}], "items[0].options"),
    ],
)
def test_a_batch_that_is_none_is_refused(post: Any, items: Any, path: str) -> None:
    make_task()

    with pytest.raises(BatchInvalid) as refusal:
        trigger_batch(items)
    response = post("/batches", {"items": items})

    assert [error.path for error in refusal.value.errors] == [path]
    assert (response.status_code, response.json()["type"]) == (422, "/problems/batch-invalid")
    assert [error["path"] for error in response.json()["errors"]] == [path]
    assert nothing_was_made()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("item", "error", "path"),
    [
        ({"task": "proces-order"}, TaskNotFound, "items[2]"),
        ({"task": "a\x00"}, TaskNotFound, "items[2]"),
        ({"task": "process-order", "payload": {"x": "a" * VALUE_MAX_BYTES}}, PayloadTooLarge, "items[2]"),
        ({"task": "process-order", "payload": {"x": {1: "\x00"}}}, PayloadInvalid, 'items[2].payload.x["1"]'),
        ({"task": "typed", "payload": {"order_id": 5}}, PayloadInvalid, "items[2].payload.order_id"),
    ],
)
def test_one_wrong_item_refuses_the_batch(item: Any, error: type[Refusal], path: str) -> None:
    make_task()
    make_task("typed", payload_schema=ORDER_SCHEMA)

    with pytest.raises(error) as refusal:
        trigger_batch([{"task": "process-order"}, {"task": "typed", "payload": {"order_id": "A1"}}, item])

    assert [found.path for found in refusal.value.errors] == [path]
    assert refusal.value.detail.startswith("items[2]: ")
    assert nothing_was_made()


@pytest.mark.django_db
def test_a_batch_of_a_thousand_mixed_runs_keeps_its_order(post: Any) -> None:
    make_task()
    make_task("typed", payload_schema=ORDER_SCHEMA, options={"queue": "orders"})
    items = [
        {"task": "typed", "payload": {"order_id": str(number)}, "options": {"priority": number % 100}}
        if number % 2
        else {"task": "process-order", "options": {"delay_seconds": number}}
        for number in range(1000)
    ]

    response = post("/batches", {"items": items})

    assert response.status_code == 201
    shown = BatchOut.model_validate(response.json()).items
    assert [item.task for item in shown] == [item["task"] for item in items]
    assert [item.state for item in shown[:4]] == ["pending", "pending", "delayed", "pending"]
    stored = {run.public_id: run for run in Run.objects.select_related("value")}
    assert len(stored) == 1000
    assert json.loads(stored[shown[999].id].value.payload) == {"order_id": "999"}
    assert (stored[shown[999].id].queue, stored[shown[999].id].priority) == ("orders", 99)


@pytest.mark.django_db
def test_a_batch_over_the_bodys_limit_is_refused(post: Any) -> None:
    make_task()
    large = {"task": "process-order", "payload": {"x": "a" * 2_900_000}}

    response = post("/batches", {"items": [large] * 3})

    assert (response.status_code, response.json()["type"]) == (413, "/problems/body-too-large")
    assert nothing_was_made()


@pytest.mark.django_db(transaction=True)
def test_the_client_triggers_batches(server: LiveServer) -> None:
    make_task()
    at = datetime.now(UTC) + timedelta(hours=1)
    with SdkClient() as connected:
        runs = connected.trigger_batch(
            [
                {"task": "process-order", "payload": {"n": 1}, "options": {"tags": {"b", "a"}, "run_at": at}},
                {"task": "process-order"},
            ]
        )
        found = [run.id for run in connected.runs(tag="a")]
        with pytest.raises(TypeError, match=r"items\[0\]: 'prority' is not a trigger option; did you mean 'priority'"):
            connected.trigger_batch([{"task": "process-order", "options": {"prority": 1}}])

    assert [run.state for run in runs] == ["delayed", "pending"]
    assert found == [runs[0].id]
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_the_runs_of_a_batch_are_as_if_they_had_been_read() -> None:
    make_task(options={"ttl_seconds": 60.0})
    items = [
        {"task": "process-order", "payload": {"n": number}, "options": {"delay": 60 * (number % 2), "tags": ["a"]}}
        for number in range(4)
    ]

    made = trigger_batch(items)

    stored = list(Run.objects.order_by("id"))
    assert [run.id for run in made] == [run.id for run in stored]
    for one, other in zip(made, stored, strict=True):
        assert {f.attname: getattr(one, f.attname) for f in Run._meta.concrete_fields} == {
            f.attname: getattr(other, f.attname) for f in Run._meta.concrete_fields
        }
    assert [json.loads(run.value.payload)["n"] for run in made] == [0, 1, 2, 3]
    made[0].refresh_from_db()
    assert (made[0].task.id, made[0]._state.adding) == ("process-order", False)


@pytest.mark.django_db
def test_a_batch_takes_three_queries() -> None:
    make_task()

    with CaptureQueriesContext(connection) as queries:
        trigger_batch([{"task": "process-order"}] * 1000)

    assert len(queries) <= 3


@pytest.mark.django_db
def test_a_trigger_among_many_in_one_transaction_makes_no_savepoint() -> None:
    make_task()
    trigger_batch([{"task": "process-order"}])

    with transaction.atomic(), CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            trigger_batch([{"task": "process-order"}])

    assert not any("SAVEPOINT" in query["sql"] for query in queries)
