import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access.models import AuditEntry
from apps.http.cursors import write_cursor
from apps.runs.models import Run
from tests.factories import (
    make_attempt,
    make_checkpoint,
    make_deployment,
    make_log_line,
    make_run,
    make_task,
    make_user,
    make_worker,
)
from tests.markup import one_line

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7 }}"
HTMX = {"HX-Request": "true"}


@pytest.fixture
def viewer(client: Client) -> Client:
    client.force_login(make_user("viewer"))
    return client


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(make_user("operator", username="olga"))
    return client


def busy_run(**overrides: Any) -> Run:
    """A run with two attempts, checkpoints and lines."""
    run = make_run(state="completed", **overrides)
    worker = make_worker()
    error = {"type": "PaymentDeclined", "message": "declined", "stack": "Traceback"}
    make_attempt(run, outcome="failed", worker_id=worker.id, error=error)
    make_attempt(run, outcome="completed", worker_id=worker.id, resumed_from="order-fetched")
    make_checkpoint(run, "order-fetched", attempt=1)
    make_checkpoint(run, "payment-complete", attempt=2)
    make_log_line(run, "charging")
    return run


def query_count(act: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        act()
    return len(captured)


@pytest.mark.parametrize(
    "path", ["/runs", "/tasks", "/runs/run_00000000000000000000000000", "/runs/rows", "/runs/newer"]
)
def test_pages_need_a_signed_in_user(client: Client, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 302
    assert answer["Location"].startswith("/sign-in?next=")


@pytest.mark.parametrize("path", ["/runs", "/tasks", "/runs/run_00000000000000000000000000"])
def test_pages_are_forbidden_without_a_role(client: Client, path: str) -> None:
    client.force_login(make_user(""))

    answer = client.get(path)

    assert answer.status_code == 403
    assert "You may not do this" in answer.text


def test_unknown_run_has_a_page_of_its_own(viewer: Client) -> None:
    for path in ("/runs/run_00000000000000000000000000", "/runs/nonsense", "/nowhere"):
        answer = viewer.get(path)

        assert answer.status_code == 404
        assert "There is nothing here" in answer.text


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


def test_query_count_of_the_run_page_does_not_grow(viewer: Client) -> None:
    run = busy_run()
    viewer.get(f"/runs/{run.public_id}")
    few = query_count(lambda: viewer.get(f"/runs/{run.public_id}"))
    for number in range(20):
        make_checkpoint(run, f"page-{number}")
        make_log_line(run, f"line {number}")
    make_attempt(run, outcome="failed")

    many = query_count(lambda: viewer.get(f"/runs/{run.public_id}"))

    assert many == few <= 16


def test_query_count_of_the_tasks_page_does_not_grow(viewer: Client) -> None:
    deployment = make_deployment()
    make_task("task-0", deployment=deployment)
    viewer.get("/tasks")
    few = query_count(lambda: viewer.get("/tasks"))
    for number in range(1, 10):
        make_run(make_task(f"task-{number}", deployment=deployment))

    assert query_count(lambda: viewer.get("/tasks")) <= few + 1 <= 10


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


def test_run_page_shows_failure_attempts_and_timeline(viewer: Client) -> None:
    error = {
        "type": "shop.PaymentDeclined",
        "message": "no funds",
        "stack": "Traceback here",
        "reason": "all 3 attempts are used",
    }
    run = make_run(state="dead_letter", error=error)
    make_attempt(run, outcome="failed", error=error)
    make_checkpoint(run, "order-fetched")

    page = one_line(viewer.get(f"/runs/{run.public_id}").text)

    for text in (
        "Dead letter",
        "shop.PaymentDeclined",
        "no funds",
        "Traceback here",
        "all 3 attempts are used",
        "order-fetched",
    ):
        assert text in page
    assert '<rect class="bar bar-lost"' in page


def test_lineage_goes_up_and_down(viewer: Client) -> None:
    original = make_run(state="dead_letter")
    replays = [make_run(state="completed", replay_of=original, replay_from="order-fetched") for _ in range(6)]
    other = make_run(state="completed")

    page = one_line(viewer.get(f"/runs/{original.public_id}").text)
    down = one_line(viewer.get(f"/runs/{replays[0].public_id}").text)
    listed = viewer.get("/runs", {"replay_of": original.public_id}).text

    assert page.count('title="Completed, from order-fetched"') == 5
    assert f'href="/runs/{replays[5].public_id}" title' in page
    assert f'href="/runs/{replays[0].public_id}" title' not in page
    assert f"/runs?replay_of={original.public_id}" in page
    assert f'href="/runs/{original.public_id}"' in down
    assert "from <code>order-fetched</code>" in down
    assert all(replay.public_id in listed for replay in replays)
    assert f'id="{other.public_id}"' not in listed
    assert "replays of" in listed
    assert "replay_of=" not in down


def test_requeue_is_seen_in_the_attempts(viewer: Client) -> None:
    run = make_run(state="completed", attempt_count=4, budget_base=3)
    for number in range(1, 5):
        make_attempt(run, outcome="completed" if number == 4 else "failed", number=number)

    page = one_line(viewer.get(f"/runs/{run.public_id}").text)

    assert "4 of 6" in page
    assert page.count(">requeued</span>") == 1
    assert page.index(">requeued</span>") > page.index('id="attempt-4"')
    assert '<span class="of">/6</span>' in one_line(viewer.get("/runs").text)


def test_steps_are_drawn_in_the_timeline_and_counted(viewer: Client) -> None:
    run = busy_run()
    for number in range(130):
        make_checkpoint(run, f"page-{number}", kind="step", attempt=2, duration_seconds=0.001 * number)

    page = viewer.get(f"/runs/{run.public_id}").text

    assert page.count('class="bar bar-step"') == 100
    assert "the longest 100 of 130" in page
    assert "130 steps" in page


def test_summary_is_the_same_partial_as_in_the_page(viewer: Client) -> None:
    run = busy_run()

    fragment = viewer.get(f"/runs/{run.public_id}/summary", headers=HTMX).text

    assert one_line(fragment).lstrip().startswith('<div class="summary" id="summary"')
    assert "<html" not in fragment


def test_log_lines_are_appended_after_the_cursor(viewer: Client) -> None:
    run = make_run(state="running")
    make_log_line(run, "first")
    make_log_line(run, "second")

    fragment = viewer.get(f"/runs/{run.public_id}/log-lines", {"after": write_cursor("logs", 1, 1)}, headers=HTMX).text

    assert "second" in fragment
    assert "first" not in fragment
    assert f"after={write_cursor('logs', 1, 2)}" in fragment


def test_unreadable_place_in_the_log_shows_all_lines(viewer: Client) -> None:
    run = make_run(state="running")
    make_log_line(run, "the first line")

    assert "the first line" in viewer.get(f"/runs/{run.public_id}/log-lines", {"after": "1.1"}, headers=HTMX).text


def test_values_are_exact(viewer: Client) -> None:
    text = '{"big":18446744073709551617,"float":1e16,"decimal":{"$type":"decimal","value":"10.10"}}'
    run = make_run(state="completed", payload=text, output="-0.0")

    page = viewer.get(f"/runs/{run.public_id}/values").text
    raw = viewer.get(f"/runs/{run.public_id}/values/payload?raw")

    for shown in ("18446744073709551617", "1e16", "10.10", "Decimal", "-0.0"):
        assert shown in page
    assert raw.text == text
    assert raw["Content-Disposition"].startswith("attachment")


def test_large_value_is_drawn_on_demand(viewer: Client) -> None:
    text = '{"items":[' + ",".join(f'{{"n":{n}}}' for n in range(100_000)) + "]}"
    run = make_run(state="completed", payload=text)

    closed = viewer.get(f"/runs/{run.public_id}/values").text
    opened = viewer.get(f"/runs/{run.public_id}/values/payload", headers=HTMX).text
    branch = viewer.get(f"/runs/{run.public_id}/values/payload?path=0&offset=99960", headers=HTMX).text

    assert "Show 1.2 MB" in closed
    assert len(closed) < 50_000
    assert len(opened) < 200_000
    assert "99999" in branch
    assert viewer.get(f"/runs/{run.public_id}/values/payload?path=7.7").status_code == 404


def test_hostile_data_is_escaped_everywhere(viewer: Client) -> None:
    error = {"type": HOSTILE, "message": HOSTILE, "stack": HOSTILE, "reason": HOSTILE}
    task = make_task(f"t-{HOSTILE}"[:120], resume_points=[{"key": HOSTILE, "line": 1, "names": []}])
    run = make_run(
        task, state="dead_letter", payload='{"<script>alert(1)</script>":"<img src=x onerror=alert(2)>"}', error=error
    )
    make_attempt(run, outcome="failed", error=error, container=HOSTILE[:100], resumed_from=HOSTILE)
    make_checkpoint(run, HOSTILE, binds=[HOSTILE])
    make_log_line(run, HOSTILE, fields={HOSTILE: HOSTILE})
    make_worker(name=HOSTILE, executor_note=HOSTILE)
    paths = [
        "/runs",
        "/tasks",
        f"/runs/{run.public_id}",
        f"/runs/{run.public_id}/values",
        f"/runs/{run.public_id}/checkpoints",
    ]

    for path in paths:
        page = viewer.get(path).text

        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "alert" in page


def test_policy_forbids_inline_scripts_and_styles(viewer: Client) -> None:
    run = busy_run()

    answer = viewer.get(f"/runs/{run.public_id}")

    policy = answer["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert " style=" not in answer.text
    assert "<style" not in answer.text
    assert "<script>" not in answer.text
    assert " onclick" not in answer.text


def test_cancellation_moves_the_run_and_leaves_an_audit_entry(operator: Client) -> None:
    run = make_run(state="pending")

    answer = operator.post(f"/runs/{run.public_id}/cancellation", follow=True)

    run.refresh_from_db()
    entry = AuditEntry.objects.get()
    assert "The run is canceled." in answer.text
    assert run.state == "canceled"
    assert (entry.actor, entry.action, entry.subject) == ("olga", "runs.cancel", run.public_id)


def test_refused_cancellation_says_why_and_leaves_nothing(operator: Client) -> None:
    run = make_run(state="completed")

    answer = operator.post(f"/runs/{run.public_id}/cancellation", follow=True)

    assert "cannot be canceled" in answer.text
    assert not AuditEntry.objects.exists()


def test_viewer_may_not_cancel_and_sees_no_button(viewer: Client) -> None:
    run = make_run(state="pending")

    assert viewer.post(f"/runs/{run.public_id}/cancellation").status_code == 403
    assert 'data-dialog="cancel"' not in viewer.get(f"/runs/{run.public_id}").text
    run.refresh_from_db()
    assert run.state == "pending"


def test_cancellation_needs_a_post_and_a_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user("operator"))
    run = make_run(state="pending")

    assert client.get(f"/runs/{run.public_id}/cancellation").status_code == 405
    refused = client.post(f"/runs/{run.public_id}/cancellation")
    assert refused.status_code == 403
    assert "This form is too old" in refused.text


def test_isolation_note_follows_the_workers(viewer: Client) -> None:
    note = "Tasks run as child processes, without isolation: no engine answers."
    assert note not in viewer.get("/runs").text

    make_worker(executor="process", executor_note=note)

    assert note in viewer.get("/runs").text
