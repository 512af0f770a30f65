import pytest
from django.test import Client

from apps.http.cursors import write_cursor
from apps.runs.run_page.logs import LINES_SHOWN
from tests.factories import (
    make_attempt,
    make_checkpoint,
    make_log_line,
    make_run,
)
from tests.integration.runs.pages import HTMX, busy_run, query_count
from tests.markup import one_line

pytestmark = pytest.mark.django_db


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


def test_command_for_earlier_log_lines_is_one_that_works_here(viewer: Client) -> None:
    run = make_run(state="running")
    for number in range(LINES_SHOWN + 1):
        make_log_line(run, f"line {number}.")

    page = viewer.get(f"/runs/{run.public_id}").text

    assert f"<code>.venv/bin/trigger logs {run.public_id}</code>" in page
    assert "line 0." not in page


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
