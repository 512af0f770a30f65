"""Replays over HTTP: bodies, statuses, audit, the preview's shape, and the list of a run's replays."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.checkpoints.replay.schemas import ReplayPreviewOut
from apps.runs.models import Run
from apps.runs.shown.run import RunOut, RunPage
from tests.factories import bearer, make_run
from tests.integration.checkpoints.orders import EXACT, deploy, original_run

pytestmark = pytest.mark.django_db

Post = Callable[..., Any]
BIG = 2**70


@pytest.fixture
def original() -> Run:
    return original_run()


@pytest.fixture
def post(client: Client) -> Post:
    headers = bearer("operator")

    def send(run: Run | str, body: Any, suffix: str = "") -> HttpResponse:
        run_id = run if isinstance(run, str) else run.public_id
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        address = f"/api/v1/runs/{run_id}/replays{suffix}"
        return client.generic("POST", address, content, content_type="application/json", headers=headers)

    return send


def test_a_replay_is_created_shown_and_audited(post: Post, original: Run) -> None:
    response = post(original, {"from_checkpoint": "order-fetched"})

    assert response.status_code == 201, response.content
    shown = response.json()
    RunOut.model_validate(shown)
    assert (shown["replay_of"], shown["replay_from"]) == (original.public_id, "order-fetched")
    assert response["Location"] == f"/api/v1/runs/{shown['id']}"
    assert '"payload":{"order_id":"A1", "total":10.10},' in response.content.decode()
    entry = AuditEntry.objects.get(action="runs.replay")
    assert entry.subject == original.public_id
    assert entry.details == {"from_checkpoint": "order-fetched", "new_run": shown["id"]}


def test_edits_go_in_exactly_and_stay_out_of_the_audit(post: Post, original: Run) -> None:
    newest = deploy()
    body = {
        "from_checkpoint": "page-1",
        "payload": {"order_id": "B2", "n": BIG},
        "checkpoint_data": {"page-1": {"n": BIG, "secret": "hunter2"}},
        "deployment": "latest",
        "new_idempotency_keys": True,
    }

    response = post(original, body)

    assert response.status_code == 201, response.content
    copy = Run.objects.get(replay_of=original)
    assert copy.value.payload == f'{{"order_id":"B2","n":{BIG}}}'
    assert copy.checkpoints.get(key="page-1").data == f'{{"n":{BIG},"secret":"hunter2"}}'
    assert copy.deployment == newest
    details = AuditEntry.objects.get(action="runs.replay").details
    assert details == {
        "from_checkpoint": "page-1", "new_run": copy.public_id, "has_payload": True, "edited_keys": ["page-1"],
        "deployment": "latest", "has_new_keys": True,
    }  # fmt: skip


def test_an_empty_body_replays_from_the_start(post: Post, original: Run) -> None:
    assert post(original, b"").status_code == 201
    assert Run.objects.get(replay_of=original).replay_from == ""


@pytest.mark.parametrize(
    ("body", "status", "kind", "paths"),
    [
        (b"{", 400, "payload-malformed", []),
        ({"from_checkpoint": "paid"}, 404, "checkpoint-not-found", []),
        ({"deployment": "dep_nope"}, 404, "deployment-not-found", []),
        ({"from_checkpoint": 1}, 422, "request-invalid", ["from_checkpoint"]),
        ({"from": "order-fetched"}, 422, "request-invalid", ["from"]),
        ({"checkpoint_data": []}, 422, "request-invalid", ["checkpoint_data"]),
        ({"checkpoint_data": None}, 422, "request-invalid", ["checkpoint_data"]),
        ({"new_idempotency_keys": 1}, 422, "request-invalid", ["new_idempotency_keys"]),
        ({"deployment": "d" * 65}, 422, "request-invalid", ["deployment"]),
        ({"payload": None}, 422, "payload-invalid", ["payload"]),
        ({"checkpoint_data": {"page-1": 1}}, 422, "replay-refused", ["checkpoint_data.page-1"]),
        (
            {"from_checkpoint": "page-1", "checkpoint_data": {"page-1": {"$type": "hat"}}},
            422, "replay-refused", ["checkpoint_data.page-1"],
        ),
        (b'{"checkpoint_data": {"page-1": {"a": "\\u0000"}}}', 422, "payload-invalid", ["checkpoint_data.page-1.a"]),
        (b'{"checkpoint_data": {"page-1": {"a": NaN}}}', 422, "payload-invalid", ["checkpoint_data.page-1.a"]),
        (b'{"checkpoint_data": {"p": [{"a":1,"a":2}]}}', 422, "payload-invalid", ["checkpoint_data.p[0]"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["", "/preview"])
def test_a_wrong_body_is_refused(
    post: Post, original: Run, body: Any, status: int, kind: str, paths: list[str], suffix: str
) -> None:
    response = post(original, body, suffix)

    if suffix and kind in ("replay-refused", "payload-invalid") and not isinstance(body, bytes):
        assert response.status_code == 200
        assert [refusal["path"] for refusal in response.json()["refusals"]] == paths
    else:
        assert response.status_code == status, response.content
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["type"] == f"/problems/{kind}"
        assert [error["path"] for error in response.json()["errors"]] == paths
    assert Run.objects.count() == 1
    assert not AuditEntry.objects.filter(action="runs.replay").exists()


@pytest.mark.parametrize("run_id", ["run_00000000000000000000000000", "nonsense"])
@pytest.mark.parametrize("suffix", ["", "/preview"])
def test_an_unknown_run(post: Post, run_id: str, suffix: str) -> None:
    response = post(run_id, {}, suffix)

    assert (response.status_code, response.json()["type"]) == (404, "/problems/run-not-found")


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


@pytest.mark.parametrize(("levels", "status"), [(64, 201), (65, 422), (10_000, 422)])
def test_data_may_be_as_deep_as_a_task_may_save_it(post: Post, original: Run, levels: int, status: int) -> None:
    body = b'{"from_checkpoint":"page-1","checkpoint_data":{"page-1":' + nested(levels) + b"}}"

    assert post(original, body).status_code == status


def test_a_payload_is_no_deeper_for_that(post: Post, original: Run) -> None:
    assert post(original, b'{"payload":{"a":' + nested(63) + b"}}").status_code == 201
    assert post(original, b'{"payload":{"a":' + nested(64) + b"}}").status_code == 422


def test_the_preview_has_its_documented_shape(post: Post, original: Run) -> None:
    newest = deploy(segments=["s0", "CHANGED", "s2", "s3"])

    response = post(original, {"from_checkpoint": "page-1", "deployment": "latest"}, "/preview")

    shown = ReplayPreviewOut.model_validate(response.json())
    assert response.status_code == 200
    assert (shown.deployment.id, shown.deployment.version) == (newest.public_id, 2)
    assert shown.original_deployment is not None
    assert shown.original_deployment.version == 1
    assert (shown.is_other_deployment, shown.resumes_after) == (True, "order-fetched")
    assert [(entry.key, entry.is_code_changed) for entry in shown.reused] == [
        ("order-fetched", False),
        ("page-1", True),
    ]
    assert shown.runs_again == ["payment-complete", "shipped"]
    assert [segment.is_reused for segment in shown.segments] == [True, False, False, False]
    assert shown.uses_original_keys is True
    assert shown.refusals == []


def test_a_run_shows_its_replays_newest_first(client: Client, post: Post, original: Run) -> None:
    made = [post(original, {}).json()["id"] for _ in range(5)]
    post(made[0], {})
    headers = bearer("viewer")

    def page(query: str) -> RunPage:
        response = client.get(f"/api/v1/runs/{original.public_id}/replays?{query}", headers=headers)
        return RunPage.model_validate_json(response.content)

    first = page("limit=2")
    second = page(f"limit=2&cursor={first.next_cursor}")
    third = page(f"limit=2&cursor={second.next_cursor}")
    assert [item.id for found in (first, second, third) for item in found.items] == made[::-1]
    assert third.next_cursor is None
    assert [item.replay_of for item in third.items] == [original.public_id]


def test_replays_of_a_run_are_one_query_however_many(client: Client, original: Run) -> None:
    headers = bearer("viewer")
    counts = []
    for count in (1, 20):
        for _ in range(count):
            make_run(original.task, replay_of=original)
        with CaptureQueriesContext(connection) as queries:
            client.get(f"/api/v1/runs/{original.public_id}/replays", headers=headers)
        counts.append(sum("replay_of" in query["sql"] for query in queries))
    assert counts == [1, 1]


@pytest.mark.parametrize(
    ("query", "status"), [("cursor=nope", 422), ("limit=0", 422), ("limit=201", 422), ("page=2", 422), ("", 200)]
)
def test_a_wrong_page_is_refused(client: Client, query: str, status: int) -> None:
    address = f"/api/v1/runs/{make_run().public_id}/replays?{query}"

    assert client.get(address, headers=bearer("viewer")).status_code == status


def test_replays_of_an_unknown_run(client: Client) -> None:
    address = "/api/v1/runs/run_00000000000000000000000000/replays"

    assert client.get(address, headers=bearer("viewer")).json()["type"] == "/problems/run-not-found"


def test_the_list_of_checkpoints_tells_steps_and_edits(client: Client, post: Post, original: Run) -> None:
    made = post(original, {"from_checkpoint": "page-1", "checkpoint_data": {"page-1": 1}}).json()["id"]

    items = client.get(f"/api/v1/runs/{made}/checkpoints", headers=bearer("viewer")).json()["items"]

    assert [(item["key"], item["kind"], item["is_edited"], item["duration_seconds"]) for item in items] == [
        ("order-fetched", "checkpoint", False, None),
        ("page-1", "step", True, 0.25),
    ]
    data = client.get(f"/api/v1/runs/{made}/checkpoints/order-fetched", headers=bearer("viewer")).content.decode()
    assert f'"data":{{"order":{EXACT},"note":"x"}}' in data
