import pytest
from django.test import Client

from tests.factories import (
    make_attempt,
    make_checkpoint,
    make_log_line,
    make_run,
    make_task,
    make_user,
    make_worker,
)
from tests.integration.runs.pages import busy_run

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>{{ 7 }}"

pytestmark = pytest.mark.django_db


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


def test_isolation_note_follows_the_workers(viewer: Client) -> None:
    note = "Tasks run as child processes, without isolation: no engine answers."
    assert note not in viewer.get("/runs").text

    make_worker(executor="process", executor_note=note)

    assert note in viewer.get("/runs").text
