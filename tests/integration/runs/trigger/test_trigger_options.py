"""The options of a trigger: what each does to the run."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.test import Client

from apps.http.errors import PayloadInvalid
from apps.runs.api.schemas import TriggeredOut
from apps.runs.lifecycle import trigger
from apps.runs.models import IdempotencyKey, Run, RunValue
from tests.factories import ORDER_SCHEMA, bearer, make_run, make_task

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


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


@pytest.mark.django_db
def test_a_delayed_run_is_due_by_the_databases_clock() -> None:
    make_task()

    run = trigger("process-order", delay=timedelta(minutes=10))

    stored = Run.objects.annotate(now=Now()).get()
    assert (stored.state, run.state, run.due_at) == ("delayed", "delayed", stored.due_at)
    assert stored.due_at is not None
    assert timedelta(minutes=9) < stored.due_at - stored.now <= timedelta(minutes=10, seconds=5)


@pytest.mark.django_db
def test_a_run_is_due_at_the_time_that_was_asked_for() -> None:
    make_task()
    at = datetime.now(UTC) + timedelta(days=364)

    assert trigger("process-order", run_at=at).due_at == at


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options",
    [
        {"run_at": datetime(2020, 1, 1, tzinfo=UTC)},
        {"run_at": datetime(2000, 1, 1, tzinfo=UTC)},
        {"delay": 0},
        {"delay": timedelta(0)},
        {"delay": None, "tags": None, "metadata": None, "idempotency_key": None},
    ],
)
def test_what_is_due_already_is_pending_at_once(options: Any) -> None:
    make_task()

    run = trigger("process-order", **options)

    assert (run.state, run.due_at) == ("pending", None)
    assert Run.objects.get().due_at is None


@pytest.mark.django_db
def test_time_to_live_counts_from_when_the_run_is_due() -> None:
    make_task(options={"ttl_seconds": 60.0})

    own = trigger("process-order", delay=600, ttl=30)
    tasks = trigger("process-order", delay=600)
    past = trigger("process-order", run_at=datetime(2020, 1, 1, tzinfo=UTC), ttl=30)

    assert own.due_at is not None
    assert tasks.due_at is not None
    assert past.expires_at is not None
    assert own.expires_at == own.due_at + timedelta(seconds=30)
    assert tasks.expires_at == tasks.due_at + timedelta(seconds=60)
    assert past.expires_at > past.created_at
    assert Run.objects.get(id=own.id).expires_at == own.expires_at


@pytest.mark.django_db
def test_tags_are_collapsed_and_found(post: Any, client: Client) -> None:
    make_task()
    odd = ['say "hi"', "back\\slash", "{a,b}", "ü", " ", "NULL"]
    found = trigger("process-order", tags=["b", "a", "b", *odd])
    trigger("process-order", tags=["other"])
    make_run()

    assert Run.objects.get(id=found.id).tags == found.tags == ["b", "a", *odd]
    for tag in ["a", *odd]:
        page = client.get("/api/v1/runs", {"tag": tag}, headers=bearer("viewer")).json()
        assert [item["id"] for item in page["items"]] == [found.public_id]


@pytest.mark.django_db
def test_runs_of_a_tag_are_found_by_their_index() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_indexscan = off")

    assert "run_tags_idx" in Run.objects.tagged("a").newest_first().explain()


@pytest.mark.django_db
def test_metadata_and_trace_are_shown_on_the_run(post: Any, client: Client) -> None:
    make_task()
    metadata = {"who": "olga", "n": 2**70, "deep": [{"a": None}]}

    made = post("/tasks/process-order/runs", {"options": {"metadata": metadata, "traceparent": TRACE}})

    assert made.status_code == 201
    shown = TriggeredOut.model_validate(made.json())
    assert (shown.metadata, shown.trace_id) == (metadata, TRACE[3:35])
    read = client.get(made["Location"], headers=bearer("viewer")).json()
    assert (read["metadata"], read["trace_id"]) == (metadata, TRACE[3:35])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("header", "options", "stored"),
    [
        (TRACE, {}, TRACE),
        ("garbage", {}, ""),
        (TRACE, {"traceparent": TRACE.replace("0af", "1af")}, TRACE.replace("0af", "1af")),
    ],
)
def test_a_trace_comes_by_header_too(post: Any, header: str, options: Any, stored: str) -> None:
    make_task()

    assert post("/tasks/process-order/runs", {"options": options}, traceparent=header).status_code == 201
    assert (
        post("/batches", {"items": [{"task": "process-order", "options": options}]}, traceparent=header).status_code
        == 201
    )

    assert list(RunValue.objects.values_list("traceparent", flat=True)) == [stored, stored]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("value", "key"),
    [("c1", "c1"), ("", ""), (5, "5"), (2**70, str(2**70)), (1.5, "1.5"), (True, "true"), ("5", "5")],
)
def test_the_concurrency_key_is_taken_from_the_payload(value: Any, key: str) -> None:
    make_task(options={"concurrency_key": "payload.customer.id"})

    assert trigger("process-order", {"customer": {"id": value}}).concurrency_key == key
    assert trigger("process-order", {}, concurrency_key="own").concurrency_key == "own"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (None, "payload.customer"),
        ({"customer": 5}, "payload.customer.id"),
        ({"customer": {}}, "payload.customer.id"),
        ({"customer": {"id": None}}, "payload.customer.id"),
        ({"customer": {"id": ["a"]}}, "payload.customer.id"),
        ({"customer": {"id": "x" * 257}}, "payload.customer.id"),
    ],
)
def test_a_payload_without_the_key_is_refused_with_its_path(post: Any, payload: Any, path: str) -> None:
    make_task(options={"concurrency_key": "payload.customer.id"})

    with pytest.raises(PayloadInvalid) as refusal:
        trigger("process-order", payload)
    response = post("/batches", {"items": [{"task": "process-order", "payload": payload}]})

    assert [error.path for error in refusal.value.errors] == [path]
    assert response.status_code == 422
    assert [error["path"] for error in response.json()["errors"]] == [f"items[0].{path}"]
    assert nothing_was_made()


@pytest.mark.django_db
def test_terms_follow_the_newest_deployment_at_once() -> None:
    make_task(options={"queue": "slow", "retry": {"max_attempts": 9}}, payload_schema=ORDER_SCHEMA)
    first = trigger("process-order", {"order_id": "A1"})
    make_task(options={"ttl_seconds": 5.0}, payload_schema={"type": "object", "required": ["n"]})

    with pytest.raises(PayloadInvalid):
        trigger("process-order", {"order_id": "A1"})
    second = trigger("process-order", {"n": 1})

    assert (first.queue, first.max_attempts, first.expires_at) == ("slow", 9, None)
    assert (second.queue, second.max_attempts) == ("process-order", 3)
    assert second.expires_at is not None


@pytest.mark.django_db
def test_terms_of_a_deployment_that_was_undone_are_forgotten() -> None:
    make_task(options={"queue": "old"})
    trigger("process-order")
    with transaction.atomic():
        make_task(options={"queue": "new"})
        assert trigger("process-order").queue == "new"
        transaction.set_rollback(True)

    assert trigger("process-order").queue == "old"
