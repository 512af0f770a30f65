"""Rows that this version cannot read are shown as such, and hide no other row: on every page and in every list."""

import json
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.runs.models import Run
from apps.runs.values.tree import CUT_TEXT
from tests.factories import (
    make_attempt,
    make_checkpoint,
    make_key,
    make_log_line,
    make_run,
    make_task,
    make_user,
)

pytestmark = pytest.mark.django_db

DEEP = "[" * 3_000 + "]" * 3_000
LONG = "9" * 5_000
OLD_LIMITS = ("[" * 65 + "]" * 65, "[" * 400 + "]" * 400)
SPOILERS = {
    "a due time beyond every calendar": (
        "UPDATE runs_run SET due_at = '10000-01-01Z', expires_at = 'infinity' WHERE id = %s"
    ),
    "times before every calendar": (
        "UPDATE runs_run SET created_at = '4000-01-01Z BC', started_at = '-infinity', finished_at ="
        " CASE WHEN finished_at IS NULL THEN NULL ELSE timestamptz '0001-01-01Z BC' END WHERE id = %s"
    ),
    "times of attempts": (
        "UPDATE runs_attempt SET claimed_at = 'infinity', started_at = '-infinity', finished_at ="
        " CASE WHEN finished_at IS NULL THEN NULL ELSE timestamptz '20000-01-01Z' END WHERE run_id = %s"
    ),
    "times of lines": "UPDATE runs_logline SET logged_at = '20000-01-01Z' WHERE run_id = %s",
    "times of checkpoints": "UPDATE checkpoints_checkpoint SET created_at = '-infinity' WHERE run_id = %s",
    "deep values": f"UPDATE runs_value SET payload = '{DEEP}', output = '{DEEP}' WHERE run_id = %s",
    "deep checkpoints": f"UPDATE checkpoints_checkpoint SET data = '{DEEP}', carried = '{DEEP}' WHERE run_id = %s",
    "values at which the old pages ended": (
        f"UPDATE runs_value SET payload = '{OLD_LIMITS[0]}', output = '{OLD_LIMITS[1]}' WHERE run_id = %s"
    ),
    "deep errors": f"UPDATE runs_value SET error = '{DEEP}', metadata = '{DEEP}' WHERE run_id = %s",
    "numbers that are too long": (
        f"UPDATE runs_value SET error = '{{\"type\": {LONG}}}', payload = '{LONG}' WHERE run_id = %s"
    ),
    "errors of another form": (
        "UPDATE runs_value SET error = '[1]', metadata = '5', traceparent = 'x' WHERE run_id = %s"
    ),
    "errors of attempts": f"UPDATE runs_attempt SET error = '{DEEP}' WHERE run_id = %s",
    "errors of attempts of another form": "UPDATE runs_attempt SET error = '\"x\"' WHERE run_id = %s",
    "fields of lines": f"UPDATE runs_logline SET fields = '{DEEP}' WHERE run_id = %s",
    "deep options of a task": f"UPDATE runs_taskversion SET options = '{DEEP}' WHERE %s::uuid IS NOT NULL",
    "options of a task of another form": "UPDATE runs_taskversion SET options = '[1]' WHERE %s::uuid IS NOT NULL",
    "deep resume points": f"UPDATE runs_taskversion SET resume_points = '{DEEP}' WHERE %s::uuid IS NOT NULL",
    "resume points of another form": "UPDATE runs_taskversion SET resume_points = '{}' WHERE %s::uuid IS NOT NULL",
    "deep hashes of code": f"UPDATE runs_taskversion SET segments = '{DEEP}' WHERE %s::uuid IS NOT NULL",
    "a deep schema": f"UPDATE runs_taskversion SET payload_schema = '{DEEP}' WHERE %s::uuid IS NOT NULL",
    "an unknown state": "UPDATE runs_run SET state = 'paused' WHERE id = %s",
    "an unknown outcome": "UPDATE runs_attempt SET outcome = 'evicted', finished_at = now() WHERE run_id = %s",
    "an unknown kind": "UPDATE checkpoints_checkpoint SET kind = 'wait' WHERE run_id = %s",
    "unknown words of lines": "UPDATE runs_logline SET level = 'fatal', source = 'kernel' WHERE run_id = %s",
}
STATES = ("pending", "delayed", "running", "retrying", "completed", "dead_letter")
LISTS = ("/runs", "/runs/rows", "/tasks")
RUN_PAGES = (
    "/runs/newer?since={id}", "/runs/{id}", "/runs/{id}/summary", "/runs/{id}/log-lines", "/runs/{id}/values",
    "/runs/{id}/output", "/runs/{id}/checkpoints", "/runs/{id}/checkpoints/tail", "/runs/{id}/checkpoints/steps",
    "/runs/{id}/replays/new", "/runs/{id}/replays/new?from=order-fetched&edit=0",
)  # fmt: skip
VALUE_PAGES = (
    "/runs/{id}/values/payload", "/runs/{id}/values/payload?raw", "/runs/{id}/checkpoints/0",
    "/runs/{id}/checkpoints/0?raw", "/runs/{id}/checkpoints?key=order", "/runs/{id}/replays/payload",
    "/runs/{id}/replays/data/0",
)  # fmt: skip
"""They do not ask for the run's state, so one run is enough."""
API_LISTS = ("/runs", "/dead-letters", "/dead-letters/groups", "/queues", "/tasks", "/tasks/process-order")
API_OF_RUN = ("", "/attempts", "/checkpoints", "/checkpoints/order-fetched", "/logs", "/replays")


@pytest.fixture
def _without_constraints() -> None:
    """In this test's transaction the database takes what older versions stored."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint"
            " WHERE contype = 'c' AND conrelid::regclass::text ~ '^(runs|checkpoints|queues)_'"
        )
        for table, name in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


def spoiled(statement: str, state: str) -> Run:
    run = make_run(state=state, error={"type": "E", "message": "m", "stack": "s"}, output="1")
    make_attempt(run, outcome="failed", error={"type": "E", "message": "m", "stack": "s"})
    make_checkpoint(run, "order-fetched")
    make_log_line(run, "a line", fields={"n": 1})
    with connection.cursor() as cursor:
        cursor.execute(statement, [run.id])
    return run


def runs_with(statement: str) -> list[Run]:
    make_task()
    found = [spoiled(statement, state) for state in STATES]
    make_run(state="completed")
    return found


@pytest.mark.usefixtures("_without_constraints")
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_pages_show_the_row_and_all_others(client: Client, spoiler: str) -> None:
    runs = runs_with(SPOILERS[spoiler])
    client.force_login(make_user("operator", username="olga"))

    for run in runs:
        for address in RUN_PAGES if run is not runs[0] else (*LISTS, *RUN_PAGES, *VALUE_PAGES):
            answer = client.get(address.format(id=run.public_id))
            assert answer.status_code < 500, (address, run.state)
            assert answer.status_code < 400 or answer.status_code == 404, (address, run.state)
    listed = client.get("/runs").content.decode()
    assert [run.state for run in runs if run.public_id not in listed] == []


@pytest.mark.usefixtures("_without_constraints")
@pytest.mark.parametrize(
    ("spoiler", "address", "words"),
    [
        ("times before every calendar", "/runs/{id}/summary", "unreadable time"),
        ("a due time beyond every calendar", "/runs", "unreadable time"),
        ("times of lines", "/runs/{id}/log-lines", "unreadable time"),
        ("times of checkpoints", "/runs/{id}/checkpoints", "unreadable time"),
        ("deep values", "/runs/{id}/values/payload", CUT_TEXT),
        ("deep checkpoints", "/runs/{id}/checkpoints/0", CUT_TEXT),
        ("deep errors", "/runs/{id}/summary", "nested too deeply"),
        ("an unknown state", "/runs/{id}/summary", "Unknown"),
        ("an unknown outcome", "/runs/{id}/summary", "Unknown"),
    ],
)
def test_it_is_said_what_cannot_be_read(client: Client, spoiler: str, address: str, words: str) -> None:
    run = spoiled(SPOILERS[spoiler], "retrying")
    client.force_login(make_user("viewer"))

    assert words in client.get(address.format(id=run.public_id)).content.decode()


@pytest.mark.usefixtures("_without_constraints")
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_the_admin_lists_and_shows_it(client: Client, spoiler: str) -> None:
    runs = runs_with(SPOILERS[spoiler])
    client.force_login(make_user("admin"))

    assert client.get("/admin/queues/deadletter/").status_code == 200
    for run in runs:
        assert client.get(f"/admin/queues/deadletter/{run.id}/change/").status_code < 400


@pytest.mark.usefixtures("_without_constraints")
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_the_api_lists_it_and_lets_it_be_moved(client: Client, spoiler: str) -> None:
    runs = runs_with(SPOILERS[spoiler])
    key = make_key("operator")

    def ask(method: str, path: str, **body: Any) -> Any:
        return client.generic(
            method, f"/api/v1{path}", data=json.dumps(body) if body else b"",
            content_type="application/json", headers={"Authorization": f"Bearer {key}"},
        )  # fmt: skip

    for path in API_LISTS:
        assert ask("GET", path).status_code == 200, path
    assert len(ask("GET", "/runs").json()["items"]) == len(runs) + 1
    for run in runs:
        for path in API_OF_RUN:
            answer = ask("GET", f"/runs/{run.public_id}{path}")
            assert answer.status_code == 200, (path, run.state, answer.content[:300])
    for run in runs:
        for verb in ("cancellation", "bump", "requeue", "replays/preview", "replays"):
            assert ask("POST", f"/runs/{run.public_id}/{verb}").status_code < 500, (verb, run.state)
        assert ask("POST", f"/runs/{run.public_id}/discard", note="seen").status_code < 500
