import html
import re
from typing import Any

import pytest
from django.test import Client

from tests.factories import (
    make_run,
    make_task,
)
from tests.integration.runs.pages import HTMX, query_count
from tests.markup import one_line

pytestmark = pytest.mark.django_db


def test_list_shows_runs_with_state_task_and_payload(viewer: Client) -> None:
    make_run("process-order", state="completed", payload='{"order_id":"A77"}')

    page = viewer.get("/runs").text

    assert "Completed" in page
    assert "process-order" in page
    assert "A77" in page


def test_empty_list_gives_the_command_that_fills_it(viewer: Client) -> None:
    assert copied(viewer, "/runs") == [".venv/bin/python manage.py deploy examples/orders"]
    assert copied(viewer, "/tasks") == [".venv/bin/python manage.py deploy examples/orders"]

    make_task("answer-question")
    assert copied(viewer, "/runs") == [".venv/bin/trigger run answer-question --follow"]
    order = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    make_task("process-order", payload_schema=order)

    assert copied(viewer, "/runs") == [
        """.venv/bin/trigger run process-order --payload '{"order_id": "A1"}' --follow"""
    ]
    assert "No run matches" in viewer.get("/runs?state=expired").text


def test_command_is_one_of_a_task_whose_payload_can_be_thought_up(viewer: Client, settings: Any) -> None:
    settings.TRIGGER_COMMAND = "trigger"
    number = {"type": "object", "properties": {"n": {"type": "string", "pattern": "^[0-9]$"}}, "required": ["n"]}
    make_task("a-number", payload_schema=number)
    make_task("retired", is_retired=True)
    assert copied(viewer, "/runs") == []

    make_task("report")

    assert copied(viewer, "/runs") == ["trigger run report --follow"]


def copied(client: Client, path: str) -> list[str]:
    """The commands that the page offers to copy."""
    return [html.unescape(text) for text in re.findall(r'data-copy="([^"]+)"', client.get(path).text)]


def test_query_count_does_not_grow_with_the_rows(viewer: Client) -> None:
    for _ in range(3):
        make_run()
    viewer.get("/runs")  # the session is loaded and the content types are known
    few = query_count(lambda: viewer.get("/runs"))
    for _ in range(30):
        make_run(state="completed")

    many = query_count(lambda: viewer.get("/runs"))

    assert many == few <= 8


def test_search_for_an_id_goes_to_the_run(viewer: Client) -> None:
    run = make_run()

    answer = viewer.get("/runs", {"q": run.public_id})

    assert answer["Location"] == f"/runs/{run.public_id}"


def test_changed_rows_replace_themselves(viewer: Client) -> None:
    run, other = make_run(state="completed"), make_run()

    fragment = viewer.get("/runs/rows", {"ids": f"{run.public_id},nonsense"}, headers=HTMX).text

    assert f'id="{run.public_id}" data-row hx-swap-oob="morph"' in fragment
    assert other.public_id not in fragment
    assert "<html" not in fragment


def test_pill_counts_newer_runs(viewer: Client) -> None:
    first = make_run()
    query = {"since": first.public_id}
    assert "new run" not in viewer.get("/runs/newer", query, headers=HTMX).text

    make_run()

    assert "1 new run<" in one_line(viewer.get("/runs/newer", query, headers=HTMX).text)
