"""Triggering over HTTP: what is accepted, and that what is refused names the field and leaves nothing behind."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.http.requests import BODY_MAX_BYTES
from apps.http.values import VALUE_MAX_BYTES
from apps.runs.api.schemas import TriggeredOut
from apps.runs.models import Run, RunValue
from tests.factories import ORDER_SCHEMA, bearer, make_deployment, make_task

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/tasks/process-order/runs"
NESTED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "order_id": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "number"}}}},
    },
    "required": ["order_id"],
    "additionalProperties": False,
}


@pytest.fixture
def post(client: Client) -> Any:
    headers = bearer("operator")

    def send(body: Any, address: str = ADDRESS) -> Any:
        raw = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return client.generic("POST", address, raw, content_type="application/json", headers=headers)

    return send


def refused(response: Any, status: int, kind: str) -> dict[str, Any]:
    """The problem, after checks that hold for every refusal of a trigger."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert Run.objects.count() == 0
    assert RunValue.objects.count() == 0
    return problem


def test_trigger_stores_a_pending_run_and_answers_it(post: Any) -> None:
    make_task(payload_schema=ORDER_SCHEMA)

    response = post({"payload": {"order_id": "A1"}})

    assert response.status_code == 201
    shown = TriggeredOut.model_validate(response.json())
    run = Run.objects.get()
    assert (shown.id, shown.state, shown.queue, shown.payload) == (
        run.public_id,
        "pending",
        "process-order",
        {"order_id": "A1"},
    )
    assert response["Location"] == f"/api/v1/runs/{run.public_id}"


def test_options_are_taken(post: Any) -> None:
    make_task()

    response = post({"options": {"queue": "fast", "priority": -5, "concurrency_key": "c1", "max_attempts": 7}})

    assert response.status_code == 201, response.content
    run = Run.objects.get()
    assert (run.queue, run.priority, run.concurrency_key, run.max_attempts) == ("fast", -5, "c1", 7)


def test_a_missing_payload_is_an_empty_object(post: Any) -> None:
    make_task()

    assert post({}).json()["payload"] == {}


def test_unknown_task_names_near_misses(post: Any) -> None:
    make_task()

    problem = refused(post({"payload": {}}, "/api/v1/tasks/proces-order/runs"), 404, "task-not-found")

    assert "Did you mean 'process-order'?" in problem["detail"]


def test_retired_task_is_a_conflict(post: Any) -> None:
    make_task(is_retired=True)

    refused(post({"payload": {}}), 409, "task-retired")


@pytest.mark.parametrize(
    ("payload", "paths"),
    [
        ({"order_id": 5}, ["payload.order_id"]),
        ({"order_id": "A1", "items": [{"price": 1}, {"price": "2"}]}, ["payload.items[1].price"]),
        ({}, ["payload.order_id"]),
        ({"order_id": "A1", "oder": 1}, ["payload.oder"]),
        ([], ["payload"]),
        ({"order_id": None, "items": 3}, ["payload.items", "payload.order_id"]),
    ],
)
def test_payload_of_a_wrong_type_names_each_field(post: Any, payload: Any, paths: list[str]) -> None:
    make_task(payload_schema=NESTED_SCHEMA)

    problem = refused(post({"payload": payload}), 422, "payload-invalid")

    assert sorted(error["path"] for error in problem["errors"]) == paths
    assert all(error["message"] for error in problem["errors"])


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (r'{"payload": {"items": [1, 2, {"name": "a\u0000b"}]}}', "payload.items[2].name"),
        (r'{"payload": {"name": "\ud800"}}', "payload.name"),
        (r'{"payload": {"a\u0000": 1}}', "payload"),
        ('{"payload": {"x": NaN}}', "payload.x"),
        ('{"payload": {"x": [Infinity]}}', "payload.x[0]"),
        ('{"payload": {"x": 1e999}}', "payload.x"),
        ('{"payload": {"x": {"a": 1, "a": 2}}}', "payload.x"),
        ('{"payload": {"x": %s}}' % ("9" * 4301), "payload.x"),
        ('{"payload": {}, "payload": {}}', ""),
        (r'{"options": {"queue": "\u0000"}}', "options.queue"),
    ],
)
def test_json_that_cannot_be_stored_names_its_path(post: Any, raw: str, path: str) -> None:
    make_task()

    problem = refused(post(raw), 422, "payload-invalid")

    assert problem["errors"][0]["path"].startswith(path)


@pytest.mark.parametrize("levels", [65, 100_000])
def test_depth_beyond_the_limit_is_refused_with_its_path(post: Any, levels: int) -> None:
    make_task()

    problem = refused(post('{"payload": {"deep": %s}}' % ("[" * levels + "]" * levels)), 422, "payload-invalid")

    assert problem["errors"][0]["path"].startswith("payload.deep[0][0]")
    assert len(problem["errors"][0]["path"]) < 1000


def test_depth_at_the_limit_is_accepted(post: Any) -> None:
    make_task()

    response = post('{"payload": {"deep": %s}}' % ("[" * 63 + "]" * 63))

    assert response.status_code == 201, response.content


@pytest.mark.parametrize(
    "raw",
    ["", "{", "nope", "{'payload': 1}", '{"payload": }', b"\xff\xfe", '{"payload": {}} x', "[" * 70, '{"payload": "'],
)
def test_malformed_json_is_a_bad_request(post: Any, raw: Any) -> None:
    make_task()

    response = post(raw)

    if raw == "[" * 70:  # too deep before it could be malformed
        refused(response, 422, "payload-invalid")
    else:
        refused(response, 400, "payload-malformed")


@pytest.mark.parametrize("raw", ["[]", "1", "null", '"x"'])
def test_a_body_that_is_no_object_is_refused(post: Any, raw: str) -> None:
    make_task()

    refused(post(raw), 422, "request-invalid")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"payload": {}, "option": {}}, "option"),
        ({"options": None}, "options"),
        ({"options": []}, "options"),
    ],
)
def test_wrong_fields_are_named(post: Any, body: Any, path: str) -> None:
    make_task()

    problem = refused(post(body), 422, "request-invalid")

    assert [error["path"] for error in problem["errors"]] == [path]


def test_payload_at_the_limit_is_accepted_and_one_byte_more_is_not(post: Any) -> None:
    make_task()
    frame = len('{"x":""}')

    refused(post({"payload": {"x": "a" * (VALUE_MAX_BYTES - frame + 1)}}), 413, "payload-too-large")
    assert post({"payload": {"x": "a" * (VALUE_MAX_BYTES - frame)}}).status_code == 201


def test_body_over_the_limit_is_refused(post: Any) -> None:
    make_task()

    refused(post(b'{"payload": {"x": "' + b"a" * BODY_MAX_BYTES + b'"}}'), 413, "body-too-large")


def test_numbers_keep_their_value(post: Any) -> None:
    make_task()

    response = post('{"payload": {"n": [1180591620717411303424, 1e16, -0.0, 10.10, 0.1, 5e-324]}}')

    stored = RunValue.objects.get().payload
    assert json.loads(stored)["n"] == [2**70, 1e16, -0.0, 10.10, 0.1, 5e-324]
    assert stored.encode() in response.content


def test_a_task_that_moved_on_is_checked_by_its_newest_version(post: Any) -> None:
    make_task(payload_schema=ORDER_SCHEMA)
    make_task(deployment=make_deployment(), payload_schema={"type": "object", "required": ["customer"]})

    refused(post({"payload": {"order_id": "A1"}}), 422, "payload-invalid")


def test_a_trigger_takes_few_queries(post: Any) -> None:
    make_task()
    post({})  # the key's first use is recorded

    with CaptureQueriesContext(connection) as queries:
        post({})

    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) <= 4, statements
