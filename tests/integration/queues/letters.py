"""Dead letters for tests, and how they are asked for over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client

from apps.runs.models import Run
from tests.factories import bearer, make_run

NOW = datetime.now(UTC)


def letter(task: str = "noop", error_type: str = "Declined", message: str = "no money", **fields: Any) -> Run:
    error = {"type": error_type, "message": message, "stack": "x" * 100, "reason": "all 3 attempts are used"}
    return make_run(task, state="dead_letter", error=error, attempt_count=3, **fields)


def some_letters() -> dict[str, Run]:
    made = {
        "a": letter(tags=["eu", "vip"]),
        "b": letter(error_type="Timeout", message="slow", queue="mail"),
        "c": letter(finished_at=NOW - timedelta(days=1)),
        "d": letter("other", message="at 100% of it", tags=["eu"]),
    }
    make_run("noop", state="completed")
    make_run("noop", state="discarded", error={"type": "Declined", "message": "no money", "stack": ""})
    return made


def states() -> dict[str, str]:
    return {run.public_id: run.state for run in Run.objects.all()}


def post(client: Client, path: str, body: Any, role: str = "operator") -> Any:
    return client.post(f"/api/v1{path}", body, content_type="application/json", headers=bearer(role))


def get(client: Client, path: str) -> Any:
    return client.get(f"/api/v1{path}", headers=bearer("viewer"))
