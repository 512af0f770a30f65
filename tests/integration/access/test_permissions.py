"""The table of permissions, against every role and every address of the API."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client

from apps.access.errors import NotAllowed
from apps.access.permissions import ALLOWED_ROLES, Action, Actor, Role, is_allowed, require
from tests.factories import bearer, make_run, make_task, make_user
from trigger_site.web.api import api

pytestmark = pytest.mark.django_db

READ = {"viewer": 200, "operator": 200, "admin": 200}
WRITE = {"viewer": 403, "operator": 200, "admin": 200}
MATRIX: list[tuple[str, str, Any, dict[str, int]]] = [
    ("POST", "/tasks/{task}/runs", {"payload": {}}, {"viewer": 403, "operator": 201, "admin": 201}),
    ("POST", "/batches", {"items": [{"task": "noop"}]}, {"viewer": 403, "operator": 201, "admin": 201}),
    ("GET", "/runs", None, READ),
    ("GET", "/runs/{run_id}", None, READ),
    ("GET", "/runs/{run_id}/attempts", None, READ),
    ("GET", "/runs/{run_id}/logs", None, READ),
    ("GET", "/runs/{run_id}/checkpoints", None, READ),
    ("GET", "/runs/{run_id}/checkpoints/{key}", None, {"viewer": 404, "operator": 404, "admin": 404}),
    ("POST", "/runs/{run_id}/bump", {}, WRITE),
    ("POST", "/runs/{run_id}/cancellation", {}, {"viewer": 403, "operator": 200, "admin": 200}),
    ("POST", "/runs/{run_id}/replays", {}, {"viewer": 403, "operator": 201, "admin": 201}),
    ("GET", "/runs/{run_id}/replays", None, READ),
    ("POST", "/runs/{run_id}/replays/preview", {}, {"viewer": 403, "operator": 200, "admin": 200}),
    ("POST", "/runs/{run_id}/requeue", {}, {"viewer": 403, "operator": 409, "admin": 409}),
    ("POST", "/runs/{run_id}/requeue/preview", {}, {"viewer": 403, "operator": 409, "admin": 409}),
    ("GET", "/tasks", None, READ),
    ("GET", "/tasks/{task}", None, READ),
    ("PATCH", "/tasks/{task}", {"is_paused": True}, WRITE),
    ("DELETE", "/tasks/{task}/cool-down", None, WRITE),
    ("DELETE", "/tasks/{task}/idempotency-keys/{key}", None, {"viewer": 403, "operator": 404, "admin": 404}),
    ("GET", "/queues", None, READ),
    ("GET", "/queues/{name}", None, READ),
    ("PATCH", "/queues/{name}", {"is_paused": True}, WRITE),
    ("GET", "/variables", None, {"viewer": 403, "operator": 200, "admin": 200}),
    ("PUT", "/variables/{name}", {"value": "x"}, {"viewer": 403, "operator": 403, "admin": 200}),
    ("DELETE", "/variables/{name}", None, {"viewer": 403, "operator": 403, "admin": 404}),
    ("GET", "/dead-letters", None, READ),
    ("GET", "/dead-letters/groups", None, READ),
    ("POST", "/dead-letters/requeue", {"filter": {}}, WRITE),
    ("POST", "/dead-letters/discard", {"filter": {}, "note": "spent"}, WRITE),
    ("POST", "/runs/{run_id}/discard", {"note": "spent"}, {"viewer": 403, "operator": 409, "admin": 409}),
]


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
@pytest.mark.parametrize(("method", "route", "body", "statuses"), MATRIX)
def test_each_address_asks_for_its_role(
    client: Client, method: str, route: str, body: Any, statuses: dict[str, int], role: str
) -> None:
    run = make_run(make_task("noop"))
    path = "/api/v1" + route.format(task="noop", run_id=run.public_id, key="no-such-key", name="noop")

    response = client.generic(method, path, _json(body), content_type="application/json", headers=bearer(role))

    assert response.status_code == statuses[role], response.content
    if response.status_code == 403:
        assert response.json()["type"] == "/problems/not-allowed"
        roles = "admin" if statuses["operator"] == 403 else "admin or operator"
        assert f"requires the role {roles}." in response.json()["detail"]


def test_the_matrix_names_every_address() -> None:
    paths = api.get_openapi_schema()["paths"]
    served = {(method.upper(), path.removeprefix("/api/v1")) for path, methods in paths.items() for method in methods}

    assert {(method, route) for method, route, _, _ in MATRIX} == served


@pytest.mark.parametrize("credential", [None, "", "Bearer", "Bearer ", "Bearer tr_x_y", "Basic dTpw", "tr_x_y"])
def test_no_address_answers_without_a_key(client: Client, credential: str | None) -> None:
    headers = {} if credential is None else {"Authorization": credential}

    for method, route, _, _ in MATRIX:
        path = "/api/v1" + route.format(task="t", run_id="run_x", key="k", name="q")
        response = client.generic(method, path, b"{}", content_type="application/json", headers=headers)

        assert response.status_code == 401, (path, credential)
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert response.json()["type"] == "/problems/key-refused"


def test_a_browser_session_is_no_credential_for_the_api(client: Client) -> None:
    client.force_login(make_user("admin"))

    response = client.get("/api/v1/runs")

    assert response.status_code == 401


def test_every_action_is_in_the_table() -> None:
    assert set(ALLOWED_ROLES) == set(Action)


def test_admins_may_everything_and_others_may_not_manage_keys() -> None:
    for action in Action:
        assert is_allowed(Actor("a", frozenset({Role.ADMIN})), action)
    for action in (Action.KEYS_CREATE, Action.KEYS_REVOKE, Action.DEPLOYMENTS_REGISTER):
        assert not is_allowed(Actor("o", frozenset({Role.VIEWER, Role.OPERATOR})), action)


def test_unknown_action_is_refused_even_to_admins() -> None:
    with pytest.raises(NotAllowed, match="No role may"):
        require(Actor("a", frozenset(Role)), "runs.erase")


def test_roles_of_users() -> None:
    assert Actor.of_user(make_user("viewer")).roles == {Role.VIEWER}
    assert Actor.of_user(make_user("")).roles == set()
    assert Actor.of_user(make_user("", is_superuser=True)).roles == {Role.ADMIN}
    assert Actor.of_user(make_user("admin", is_active=False)).roles == set()
    assert Actor.of_user(AnonymousUser()).roles == set()


def _json(body: Any) -> bytes:
    return b"" if body is None else json.dumps(body).encode()
