"""Many dead letters at once over HTTP: what is answered, and what is refused with its field."""

from typing import Any

import pytest
from django.test import Client

from apps.queues.dead_letters.schemas import ManyOut
from tests.integration.queues.letters import get, letter, post, states

pytestmark = pytest.mark.django_db


def test_requeue_over_http_by_ids_and_by_filter(client: Client) -> None:
    made = [letter(), letter(), letter(error_type="Timeout")]

    by_ids = post(client, "/dead-letters/requeue", {"ids": [made[0].public_id], "rate": "5/s"})
    by_filter = post(client, "/dead-letters/requeue", {"filter": {"error_type": "Timeout"}, "deployment": "latest"})

    for answer in (by_ids, by_filter):
        assert ManyOut.model_validate(answer.json()).model_dump() == {
            "count": 1, "refused_count": 0, "refused": [], "next": None
        }  # fmt: skip
    assert [states()[run.public_id] for run in made] == ["delayed", "dead_letter", "pending"]


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/dead-letters/requeue", {}, 422, "selection-invalid"),
        ("/dead-letters/requeue", {"ids": ["x"]}, 422, "request-invalid"),
        ("/dead-letters/requeue", {"ids": "run_x"}, 422, "request-invalid"),
        ("/dead-letters/requeue", {"filter": {"tasks": "noop"}}, 422, "request-invalid"),
        ("/dead-letters/requeue", {"filter": {"since": "yesterday"}}, 422, "request-invalid"),
        ("/dead-letters/requeue", {"filter": {"since": "2026-01-01T00:00:00"}}, 422, "request-invalid"),
        ("/dead-letters/requeue", {"filter": {}, "rate": "fast"}, 422, "selection-invalid"),
        ("/dead-letters/requeue", {"filter": {}, "cursor": "x"}, 422, "selection-invalid"),
        ("/dead-letters/requeue", {"filter": {}, "deployment": "nope"}, 404, "deployment-not-found"),
        ("/dead-letters/discard", {"filter": {}}, 422, "request-invalid"),
        ("/dead-letters/discard", {"filter": {}, "note": " "}, 422, "note-invalid"),
        ("/dead-letters/discard", {"filter": {}, "note": "x", "rate": "1/s"}, 422, "request-invalid"),
        ("/runs/run_00000000000000000000000000/discard", {"note": "x"}, 404, "run-not-found"),
        ("/runs/run_00000000000000000000000000/discard", {}, 422, "request-invalid"),
    ],
)
def test_refusals_over_http_change_nothing(client: Client, path: str, body: Any, status: int, kind: str) -> None:
    run = letter()

    answer = post(client, path, body)

    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}"), answer.content
    assert states() == {run.public_id: "dead_letter"}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "tasks=x", "cursor=x", "since=x", "search=%00", "task=a&task=b"]
)
def test_wrong_parameters_are_refused(client: Client, query: str) -> None:
    answer = get(client, f"/dead-letters?{query}")

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/request-invalid")
