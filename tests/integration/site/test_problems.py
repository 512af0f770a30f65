"""Refusals over HTTP: every error class has a status and an entry in the docs, and nothing of the inside gets out."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.test import Client

from apps.access.errors import TooManyTries
from apps.checkpoints import errors as checkpoints_errors
from apps.http.errors import Refusal
from apps.http.problems import NAMED_ERRORS, problem_response, problem_type
from apps.queues import errors as queues
from apps.runs import errors as runs
from apps.runs.trigger.options import HTTP
from tests.factories import bearer, make_user
from trigger_site.web.api import api

DOCS = Path(settings.BASE_DIR) / "docs" / "problems.md"


def subclasses(base: type[Exception]) -> set[type[Exception]]:
    return {sub for direct in base.__subclasses__() for sub in {direct, *subclasses(direct)}}


REFUSALS = sorted({error for base in NAMED_ERRORS for error in subclasses(base)}, key=lambda error: error.__name__)


def test_every_named_error_has_a_status() -> None:
    assert len(REFUSALS) >= 40
    assert all(400 <= error.status < 600 and error.title not in ("", "Refused") for error in REFUSALS)


def test_every_problem_type_is_described_with_its_status() -> None:
    entries = dict(re.findall(r"^## `(/problems/[a-z-]+)` · (\d{3})$", DOCS.read_text(), re.MULTILINE))

    assert entries == {problem_type(error): str(error.status) for error in REFUSALS}


def test_types_are_distinct() -> None:
    assert len({problem_type(error) for error in REFUSALS}) == len(REFUSALS)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path", ["/api/", "/api/v2/runs", "/api/v1/", "/api/v1/nope", "/api/v1/runs/x/nope", "/api/%00"]
)
def test_unknown_addresses_are_problems(client: Client, path: str) -> None:
    for headers in ({}, bearer("viewer")):
        response = client.get(path, headers=headers)

        assert response.status_code == 404
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["type"] == "/problems/route-not-found"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/runs", "GET"),
        ("PUT", "/runs/x", "GET"),
        ("GET", "/tasks/t/runs", "POST"),
        ("PATCH", "/tasks", "GET"),
    ],
)
def test_unknown_methods_are_problems(client: Client, method: str, path: str, allowed: str) -> None:
    response = client.generic(method, f"/api/v1{path}", headers=bearer("admin"))

    assert response.status_code == 405
    assert response["Allow"] == allowed
    assert response.json()["type"] == "/problems/method-not-allowed"


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("server closed the connection"), InterfaceError("is closed")])
def test_database_away_is_a_503_that_says_when_to_come_back(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    headers = bearer("viewer")
    monkeypatch.setattr("apps.runs.api.runs.cursor_page", _raising(error))

    response = client.get("/api/v1/runs", headers=headers)

    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert "server closed" not in response.content.decode()


@pytest.mark.django_db
def test_a_fault_of_ours_says_only_where_the_log_has_it(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    headers = bearer("viewer")
    monkeypatch.setattr("apps.runs.api.runs.cursor_page", _raising(RuntimeError("password=hunter2")))

    with caplog.at_level(logging.ERROR):
        response = client.get("/api/v1/runs", headers=headers)

    assert response.status_code == 500
    assert "hunter2" not in response.content.decode()
    identifier = re.search(r"id ([0-9a-f]{16})", response.json()["detail"])
    assert identifier is not None
    logged = next(record for record in caplog.records if identifier[1] in record.getMessage())
    assert logged.exc_info is not None
    assert "hunter2" in str(logged.exc_info[1])


def test_a_problem_may_quote_what_no_encoder_writes() -> None:
    response = problem_response(_runs_error("There is no task 'a\ud800\x00'."))

    assert response.status_code == 404
    assert b"\\\\ud800" in response.content


@pytest.mark.django_db
def test_the_description_is_for_keys_and_sessions_only(client: Client) -> None:
    assert client.get("/api/v1/openapi.json").status_code == 302
    assert client.get("/api/v1/openapi.json", headers={"Authorization": "Bearer nope"}).status_code == 401
    document = client.get("/api/v1/openapi.json", headers=bearer("viewer")).json()

    client.force_login(make_user("viewer"))
    page = client.get("/api/v1/docs")

    assert page.status_code == 200
    for path in document["paths"]:
        assert path in page.content.decode()
    assert "<script" not in page.content.decode().replace('<script src="/static/', "").replace(
        '<script defer src="/static/', ""
    )
    assert "//" not in re.sub(r"http://(testserver|127\.0\.0\.1)", "", _sources(page.content.decode()))


@pytest.mark.django_db
def test_the_description_resolves_and_names_the_refusals(client: Client) -> None:
    document = client.get("/api/v1/openapi.json", headers=bearer("viewer")).json()

    for reference in re.findall(r"'\$ref': '(#[^']+)'", str(document)):
        _resolve(document, reference)
    trigger = document["paths"]["/api/v1/tasks/{task}/runs"]["post"]
    options = trigger["requestBody"]["content"]["application/json"]["schema"]["properties"]["options"]
    assert set(options["properties"]) == set(HTTP)
    assert "application/problem+json" in trigger["responses"]["default"]["content"]


@pytest.mark.parametrize("kind", REFUSALS)
def test_every_problem_fits_its_description(kind: type[Exception]) -> None:
    details: dict[type[Exception], tuple[Any, ...]] = {
        runs.IllegalMove: ("no", "completed"),
        runs.IdempotencyConflict: ("no", (runs.FieldError("options", "differ"),), "run_1"),
        queues.QueueFull: ("no", (), 3),
        checkpoints_errors.CheckpointRefused: ("no", "invalid"),
        TooManyTries: ("no", 3),
    }

    response = problem_response(kind(*details.get(kind, ("no",))))

    _problem_validator().validate(json.loads(response.content))
    assert json.loads(response.content)["status"] == response.status_code == kind.status


def test_the_examples_of_problems_are_problems() -> None:
    schema = api.get_openapi_schema()["components"]["schemas"]["ProblemOut"]

    for example in schema["examples"]:
        _problem_validator().validate(example)


def test_each_operation_names_the_statuses_of_its_refusals() -> None:
    for path, methods in api.get_openapi_schema()["paths"].items():
        for operation in methods.values():
            statuses = {str(status) for status in operation["responses"]}
            assert {"401", "403", "500", "503", "default"} <= statuses
            assert ("404" in statuses) or "{" not in path
            assert "requestBody" not in operation or {"400", "413", "422"} <= statuses


def _problem_validator() -> Any:
    schemas = api.get_openapi_schema()["components"]["schemas"]
    root = {"$ref": "#/components/schemas/ProblemOut", "components": {"schemas": schemas}}
    return jsonschema_rs.Draft202012Validator(root)


def _raising(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def _runs_error(detail: str) -> Refusal:
    from apps.runs.errors import TaskNotFound

    return TaskNotFound(detail)


def _sources(page: str) -> str:
    return " ".join(re.findall(r'(?:src|href)="([^"]*)"', page))


def _resolve(document: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document
