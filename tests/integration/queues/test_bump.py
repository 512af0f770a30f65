"""Bump puts one pending run before all others of its queue."""

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from apps.access.models import AuditEntry
from apps.queues.bump import bump
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.lifecycle import cancel
from apps.runs.models import BUMPED_PRIORITY, Run
from apps.runs.shown.run import RunOut
from apps.runs.states import RunState
from tests.factories import bearer, make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def post(client: Client) -> Any:
    return lambda run, role="operator": client.post(
        f"/api/v1/runs/{run.public_id}/bump", "", content_type="application/json", headers=bearer(role)
    )


def test_bumping_again_changes_nothing_more() -> None:
    run = make_run(priority=-3)

    assert bump(run_id=run.id).priority == bump(run_id=run.id).priority == BUMPED_PRIORITY


@pytest.mark.parametrize("state", [state for state in RunState if state != RunState.PENDING])
def test_only_a_pending_run_is_bumped(post: Any, state: RunState) -> None:
    run = make_run(state=state)

    with pytest.raises(IllegalMove) as refusal:
        bump(run_id=run.id)
    response = post(run)

    assert refusal.value.state == state
    assert (response.status_code, response.json()["state"]) == (409, state)
    assert Run.objects.get().priority == 0
    assert not AuditEntry.objects.filter(action="runs.bump").exists()


def test_a_lost_race_bumps_nothing() -> None:
    run = make_run()
    cancel(run.id)

    with pytest.raises(IllegalMove, match="A canceled run cannot be bumped"):
        bump(run_id=run.id)


def test_an_unknown_run_is_not_found() -> None:
    with pytest.raises(RunNotFound):
        bump(run_id=uuid4())


def test_bump_over_http_is_audited_and_needs_an_operator(post: Any) -> None:
    run = make_run()

    assert post(run, "viewer").status_code == 403
    response = post(run)

    assert response.status_code == 200
    assert RunOut.model_validate(response.json()).priority == BUMPED_PRIORITY
    assert AuditEntry.objects.get(action="runs.bump").subject == run.public_id
