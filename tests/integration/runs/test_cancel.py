"""Canceling over HTTP: at once while a run waits, by request while it runs, refused when it has ended."""

from typing import Any

import pytest
from django.test import Client

from apps.access.models import AuditEntry
from apps.runs.states import CANCELABLE_AT_ONCE, RunState
from tests.factories import bearer, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def cancel(client: Client) -> Any:
    headers = bearer("operator")
    return lambda run_id, body=b"": client.generic(
        "POST", f"/api/v1/runs/{run_id}/cancellation", body, content_type="application/json", headers=headers
    )


@pytest.mark.parametrize("state", sorted(CANCELABLE_AT_ONCE))
def test_a_waiting_run_is_canceled_at_once(cancel: Any, state: RunState) -> None:
    run = make_run(state=state)

    response = cancel(run.public_id)

    run.refresh_from_db()
    assert response.status_code == 200
    assert response.json()["state"] == run.state == "canceled"
    assert run.finished_at is not None
    assert run.due_at is None
    assert run.version == 1


def test_a_running_run_is_asked_and_keeps_its_lease(cancel: Any) -> None:
    run = make_run(state="running")

    response = cancel(run.public_id, b"{}")

    run.refresh_from_db()
    assert response.json()["state"] == "running"
    assert response.json()["is_cancel_requested"] is True
    assert run.is_cancel_requested
    assert run.token is not None


@pytest.mark.parametrize("state", ["completed", "dead_letter", "discarded", "expired"])
def test_a_final_run_is_a_conflict_that_names_its_state(cancel: Any, state: str) -> None:
    run = make_run(state=state)

    response = cancel(run.public_id)

    assert response.status_code == 409
    assert response.json()["type"] == "/problems/illegal-move"
    assert response.json()["state"] == state
    assert AuditEntry.objects.filter(action="runs.cancel").count() == 0


def test_asking_twice_gets_the_same_answer(cancel: Any) -> None:
    run = make_run()

    first, second = cancel(run.public_id), cancel(run.public_id)

    assert first.json() == second.json()


def test_a_cancel_leaves_an_entry(cancel: Any) -> None:
    run = make_run()

    cancel(run.public_id)

    entry = AuditEntry.objects.get(action="runs.cancel")
    assert entry.subject == run.public_id
    assert entry.actor.startswith("key key-")


def test_unknown_run(cancel: Any) -> None:
    response = cancel("run_01m81zhhbteassqbqdg73wfv6n")

    assert response.status_code == 404


def test_a_body_with_fields_is_refused(cancel: Any) -> None:
    run = make_run()

    response = cancel(run.public_id, b'{"force": true}')

    assert response.status_code == 422
    assert response.json()["errors"][0]["path"] == "force"
    run.refresh_from_db()
    assert run.state == "pending"
