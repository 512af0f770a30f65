"""Every address of the site against everybody who may knock: an address that the table does not name fails."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from apps.live.routing import websocket_urlpatterns
from apps.runs.models import Run
from tests.factories import bearer, make_checkpoint, make_run, make_task, make_user
from tests.integration.access.test_permissions import MATRIX

pytestmark = pytest.mark.django_db

NOBODY: frozenset[str] = frozenset()
SUPERUSERS = frozenset({"superuser"})
ADMINS = SUPERUSERS | {"admin"}
OPERATORS = ADMINS | {"operator"}
READERS = OPERATORS | {"viewer"}
SIGNED_IN = READERS | {"nobody in particular"}
EVERYBODY = SIGNED_IN | {"stranger", "viewer key", "operator key", "admin key"}

Visitors = dict[str, tuple[Client, dict[str, str]]]

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PAGES: dict[str, dict[str, frozenset[str]]] = {
    "": {"GET": SIGNED_IN},
    "runs": {"GET": READERS},
    "runs/rows": {"GET": READERS},
    "runs/newer": {"GET": READERS},
    "runs/<run_id>": {"GET": READERS},
    "runs/<run_id>/summary": {"GET": READERS},
    "runs/<run_id>/log-lines": {"GET": READERS},
    "runs/<run_id>/values": {"GET": READERS},
    "runs/<run_id>/output": {"GET": READERS},
    "runs/<run_id>/values/<name>": {"GET": READERS},
    "runs/<run_id>/cancellation": {"POST": OPERATORS},
    "tasks": {"GET": READERS},
    "runs/<run_id>/checkpoints": {"GET": READERS},
    "runs/<run_id>/checkpoints/tail": {"GET": READERS},
    "runs/<run_id>/checkpoints/steps": {"GET": READERS},
    "runs/<run_id>/checkpoints/<index>": {"GET": READERS},
    "runs/<run_id>/checkpoints/<index>/carried": {"GET": READERS},
    "runs/<run_id>/replays/new": {"GET": OPERATORS},
    "runs/<run_id>/replays/preview": {"POST": OPERATORS},
    "runs/<run_id>/replays/payload": {"GET": OPERATORS},
    "runs/<run_id>/replays/data/<index>": {"GET": OPERATORS},
    "runs/<run_id>/replays": {"POST": OPERATORS},
    "runs/<run_id>/requeue/new": {"GET": OPERATORS},
    "runs/<run_id>/requeue": {"POST": OPERATORS},
    "tasks/<task_id>/pause": {"POST": OPERATORS},
    "tasks/<task_id>/resume": {"POST": OPERATORS},
    "tasks/<task_id>/cool-down/lift": {"POST": OPERATORS},
    "sign-in": {"GET": EVERYBODY, "POST": EVERYBODY},
    "sign-in/<uidb64>/<token>": {"GET": EVERYBODY, "POST": EVERYBODY},
    "sign-out": {"POST": SIGNED_IN},
    "api/v1/openapi.json": {"GET": EVERYBODY - {"stranger"}},
    "api/v1/docs": {"GET": EVERYBODY - {"stranger"}},
    # Django's administration: the dead letters by our roles, its own users and groups by its own permissions.
    "admin/": {"GET": READERS, "POST": READERS},
    "admin/login/": {"GET": READERS, "POST": READERS},
    "admin/logout/": {"POST": READERS},  # others are sent to the start
    "admin/password_change/": {"GET": READERS, "POST": READERS},
    "admin/password_change/done/": {"GET": READERS},
    "admin/autocomplete/": {},
    "admin/jsi18n/": {"GET": READERS},
    "admin/r/<content_type_id>/<object_id>/": {},
    "admin/(?P<app_label>queues|auth)/$": {"GET": READERS, "POST": READERS},
    "admin/(?P<url>.*)$": {},
    "admin/queues/deadletter/": {"GET": READERS, "POST": READERS},
    "admin/queues/deadletter/add/": {},
    "admin/queues/deadletter/<object_id>/history/": {"GET": READERS, "POST": READERS},
    "admin/queues/deadletter/<object_id>/delete/": {},
    "admin/queues/deadletter/<object_id>/change/": {"GET": READERS},
    "admin/queues/deadletter/<object_id>/": {"GET": READERS, "POST": READERS},
    **{
        f"admin/auth/{kind}/{rest}": {"GET": SUPERUSERS, "POST": SUPERUSERS}
        for kind in ("group", "user")
        for rest in (
            "",
            "add/",
            "<object_id>/history/",
            "<object_id>/delete/",
            "<object_id>/change/",
        )
    },
    "admin/auth/group/<object_id>/": {"GET": READERS, "POST": READERS},  # sends on to its page, which asks
    "admin/auth/user/<object_id>/": {"GET": READERS, "POST": READERS},
    "admin/auth/user/<id>/password/": {"GET": SUPERUSERS, "POST": SUPERUSERS},
}
WAYS_OUT = ("sign-out", "admin/logout/")
NOT_FOUND_PAGES = {"api/v1/", "api/"}
"""Where the API answers that nothing is there, to everybody alike."""


def routes(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + re.sub(r"^\^", "", re.sub(r"<\w+:", "<", str(pattern.pattern)))
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            assert isinstance(pattern, URLPattern)
            yield route


def api_route(route: str) -> str:
    return "/" + route.removeprefix("api/v1/").replace("<", "{").replace(">", "}")


def test_the_table_names_every_address() -> None:
    operations = {route for _, route, _, _ in MATRIX}

    unnamed = {route for route in routes() if route not in PAGES and api_route(route) not in operations}

    assert unnamed == NOT_FOUND_PAGES
    assert set(PAGES) <= set(routes())


def test_there_is_one_socket() -> None:
    assert [str(each.pattern) for each in websocket_urlpatterns] == ["ws/dashboard"]  # tests/integration/live has it


@pytest.fixture
def visitors() -> Visitors:
    """Everybody: a client with their session, and the headers that they send."""
    found: Visitors = {"stranger": (Client(), {})}
    for name, role in (
        ("nobody in particular", ""),
        ("viewer", "viewer"),
        ("operator", "operator"),
        ("admin", "admin"),
    ):
        client = Client()
        client.force_login(make_user(role))
        found[name] = (client, {})
    client = Client()
    client.force_login(make_user("", is_superuser=True, is_staff=True))
    found["superuser"] = (client, {})
    for role in ("viewer", "operator", "admin"):
        found[f"{role} key"] = (Client(), bearer(role))
    return found


def path_of(route: str, run: Run) -> str:
    given = {
        "run_id": run.public_id, "task_id": run.task_id, "name": "payload", "index": "0", "uidb64": "MQ", "token": "x",
        "object_id": object_id(route, run), "id": object_id(route, run), "content_type_id": "1",
    }  # fmt: skip
    route = route.replace("(?P<app_label>queues|auth)/$", "queues/").replace("(?P<url>.*)$", "nowhere")
    return "/" + re.sub(r"<(\w+)>", lambda found: given[found[1]], route)


def object_id(route: str, run: Run) -> str:
    if "deadletter" in route:
        return str(run.pk)
    return str((Group if "group" in route else User).objects.earliest("pk").pk)


def outcome(response: Any) -> str:
    """`in`, or how the visitor was kept out."""
    if response.status_code in (401, 403):
        return "out"
    if response.status_code == 302 and response["Location"].startswith(("/sign-in", "/admin/login/")):
        return "out"
    return "in" if response.status_code != 405 else "no such method"


@pytest.mark.parametrize("walk", [[route for route in PAGES if route not in WAYS_OUT], *([way] for way in WAYS_OUT)])
def test_each_address_lets_in_whom_the_table_names(walk: list[str], visitors: Visitors) -> None:
    make_task("noop")
    table = {(route, method): names for route in walk for method, names in PAGES[route].items()}

    found = {(route, method): let_in(route, method, visitors) for route, method in table}

    assert {each: sorted(names) for each, names in found.items()} == {each: sorted(table[each]) for each in table}


def let_in(route: str, method: str, visitors: Visitors) -> set[str]:
    names = set()
    for name, (client, headers) in visitors.items():
        run = make_run("noop", state="dead_letter")
        make_checkpoint(run, carried="{}")
        response = client.generic(method, path_of(route, run), headers=headers)
        assert response.status_code < 500, (route, name, response.content)
        is_in = outcome(response) == "in"
        if route in WAYS_OUT:  # where they lead, strangers are sent too
            is_in = response["Location"] == "/sign-in" and name in SIGNED_IN
        if is_in:
            names.add(name)
    return names


def test_no_address_knows_another_method(visitors: Visitors) -> None:
    run = make_run(make_task("noop"), state="dead_letter")
    make_checkpoint(run, carried="{}")
    known = []
    for route, method in ((route, method) for route in PAGES for method in METHODS if method not in PAGES[route]):
        for name in ("superuser", "admin key"):  # who may everything
            client, headers = visitors[name]
            response = client.generic(method, path_of(route, run), headers=headers)

            # The administration answers other methods like GET and changes nothing; the sign-in sends on who is in.
            is_harmless = route.startswith("admin/") or response.status_code == 404 or route == "sign-in"
            if outcome(response) == "in" and not is_harmless:
                known.append((route, method, name))
    assert known == []
    run.refresh_from_db()
    assert run.state == "dead_letter"


@pytest.mark.parametrize("name", ["stranger", "nobody in particular", "viewer", "operator", "admin", "superuser"])
def test_no_session_opens_the_api(name: str, visitors: Visitors) -> None:
    client, _ = visitors[name]
    for method, route, _, _ in MATRIX:
        path = "/api/v1" + route.format(task="t", run_id="run_x", key="k", name="q")

        assert client.generic(method, path, b"{}", content_type="application/json").status_code == 401, path
