"""Variables of task sets: written encrypted, versioned, audited, and never read back by people."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import Client
from trigger_sdk.variables import COUNT_MAX

from apps.access.models import AuditEntry
from apps.access.permissions import Actor
from apps.runs.errors import VariableInvalid, VariableNotFound
from apps.runs.models import Variable
from apps.runs.variables.encryption import UnreadableValueError, decrypt
from apps.runs.variables.schemas import VariableList, VariableOut, VariableSetOut
from apps.runs.variables.store import list_variables, set_variable, unset_variable, values_of
from tests.factories import bearer, make_deployment

pytestmark = pytest.mark.django_db

ACTOR = Actor.of_console("test")
SECRET = "sk_live_Kraków_4242"


@pytest.fixture
def call(client: Client) -> Callable[..., Any]:
    def send(method: str, path: str, body: Any = None, role: str = "admin") -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        return client.generic(method, f"/api/v1{path}", content, content_type="application/json", headers=bearer(role))

    return send


def test_value_is_stored_encrypted_and_shown_nowhere(call: Callable[..., Any]) -> None:
    put = call("PUT", "/variables/API_KEY", {"value": SECRET, "task_set": "orders"})
    listed = call("GET", "/variables", role="operator")

    assert put.status_code == 200, put.text
    assert VariableSetOut.model_validate(put.json()).is_deployed is False
    (shown,) = VariableList.model_validate(listed.json()).items
    assert (shown.name, shown.task_set, shown.version) == ("API_KEY", "orders", 1)
    stored = bytes(Variable.objects.get().value or b"")
    assert SECRET.encode() not in stored
    assert values_of("orders") == {"API_KEY": SECRET}
    everything = put.text + listed.text + json.dumps(list(AuditEntry.objects.values_list("details", "subject")))
    assert SECRET not in everything
    assert AuditEntry.objects.get(action="variables.change").details == {"task_set": "orders", "version": 1}


def test_version_counts_every_change_also_over_an_absence(call: Callable[..., Any]) -> None:
    make_deployment("orders")
    for value in ("a", "b"):
        put = call("PUT", "/variables/MODE", {"value": value, "task_set": "orders"}).json()
    gone = call("DELETE", "/variables/MODE?task_set=orders")
    assert call("GET", "/variables").json() == {"items": []}
    again = call("PUT", "/variables/MODE", {"value": "a", "task_set": "orders"}).json()

    assert (put["version"], put["is_deployed"]) == (2, True)
    assert VariableOut.model_validate(gone.json()).version == 3
    assert again["version"] == 4
    assert AuditEntry.objects.filter(action="variables.change", subject="MODE").count() == 4


def test_variable_of_a_set_wins_over_one_of_all_sets() -> None:
    set_variable("MODE", "all", actor=ACTOR)
    set_variable("MODE", "orders", task_set="orders", actor=ACTOR)
    set_variable("OTHER", "all", actor=ACTOR)

    assert values_of("orders") == {"MODE": "orders", "OTHER": "all"}
    assert values_of("mail") == {"MODE": "all", "OTHER": "all"}
    assert [(row.name, row.task_set) for row in list_variables("orders")] == [("MODE", "orders"), ("OTHER", "")]
    assert len(list_variables()) == 3
    unset_variable("MODE", task_set="orders", actor=ACTOR)
    assert values_of("orders")["MODE"] == "all"


@pytest.mark.parametrize(
    ("method", "path", "body", "role"),
    [
        ("PUT", "/variables/A", {"value": "x"}, "operator"),
        ("PUT", "/variables/A", {"value": "x"}, "viewer"),
        ("DELETE", "/variables/A", None, "operator"),
        ("GET", "/variables", None, "viewer"),
    ],
)
def test_others_than_admins_change_nothing_and_viewers_see_nothing(
    call: Callable[..., Any], method: str, path: str, body: Any, role: str
) -> None:
    set_variable("A", "x", actor=ACTOR)

    assert call(method, path, body, role=role).status_code == 403
    assert values_of("orders") == {"A": "x"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/variables/PATH", {"value": SECRET}, "name"),
        ("/variables/A-B", {"value": SECRET}, "name"),
        ("/variables/A", {"value": SECRET + "x" * 65_536}, "value"),
        ("/variables/A", {"value": SECRET, "task_set": "x" * 129}, "task_set"),
        ("/variables/A", {"value": SECRET, "task_set": "a\nb"}, "task_set"),
    ],
)
def test_what_cannot_be_is_refused_by_its_field_and_not_repeated(
    call: Callable[..., Any], path: str, body: Any, field: str
) -> None:
    answer = call("PUT", path, body)

    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/variable-invalid")
    assert answer.json()["errors"][0]["path"] == field
    assert SECRET not in answer.text
    assert not Variable.objects.exists()


@pytest.mark.parametrize("body", [{}, {"value": 5}, {"value": None}, {"value": "a", "other": 1}])
def test_body_of_another_shape_is_refused(call: Callable[..., Any], body: Any) -> None:
    assert call("PUT", "/variables/A", body).status_code == 422


def test_unset_of_nothing_is_refused(call: Callable[..., Any]) -> None:
    set_variable("A", "x", actor=ACTOR)

    assert call("DELETE", "/variables/A?task_set=orders").json()["type"] == "/problems/variable-not-found"
    with pytest.raises(VariableNotFound):
        unset_variable("A\0", actor=ACTOR)


def test_limit_counts_variables_of_all_sets_too() -> None:
    for number in range(COUNT_MAX - 1):
        set_variable(f"N{number}", "", actor=ACTOR)
    set_variable("LAST", "", task_set="orders", actor=ACTOR)

    with pytest.raises(VariableInvalid, match="a task may have 200"):
        set_variable("MORE", "", task_set="orders", actor=ACTOR)
    with pytest.raises(VariableInvalid, match="a task may have 200"):
        set_variable("MORE", "", actor=ACTOR)
    set_variable("MORE", "", task_set="mail", actor=ACTOR)
    set_variable("LAST", "changed", task_set="orders", actor=ACTOR)


def test_moved_or_changed_value_is_not_read() -> None:
    set_variable("A", SECRET, task_set="orders", actor=ACTOR)
    stored = bytes(Variable.objects.get().value or b"")

    assert decrypt(stored, task_set="orders", name="A") == SECRET
    for task_set, name, content in (
        ("orders", "B", stored), ("mail", "A", stored), ("orders", "A", stored[:-1] + bytes([stored[-1] ^ 1]))
    ):  # fmt: skip
        with pytest.raises(UnreadableValueError):
            decrypt(content, task_set=task_set, name=name)


def test_changed_secret_key_needs_its_predecessor(settings: LazySettings) -> None:
    set_variable("A", SECRET, actor=ACTOR)
    earlier, settings.SECRET_KEY = settings.SECRET_KEY, "x" * 50

    with pytest.raises(UnreadableValueError, match="TRIGGER_SECRET_KEY_FALLBACKS"):
        values_of("orders")
    set_variable("B", "set with the new key", actor=ACTOR)
    settings.SECRET_KEY_FALLBACKS = [earlier]
    assert values_of("orders") == {"A": SECRET, "B": "set with the new key"}
