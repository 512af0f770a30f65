"""Pages that follow the runs without a reload."""

import re
from datetime import UTC, datetime
from typing import Any

from playwright.sync_api import Page, WebSocketRoute, expect

from apps.live.notify import announce_now
from apps.live.topics import RUNS
from apps.runs.models import Run, RunValue
from tests.factories import make_attempt, make_checkpoint, make_log_line, make_run

LIVE = re.compile("Live")
POLLING_MILLISECONDS = 20_000


def open_live(page: Page, url: str) -> None:
    """The page with its socket open, marked so that a reload would show."""
    page.goto(url)
    expect(page.locator("#live-state")).to_have_text(LIVE)
    page.evaluate("window.unreloaded = true")


def expect_no_reload(page: Page) -> None:
    assert page.evaluate("window.unreloaded") is True


def change(run: Run, **fields: Any) -> None:
    Run.objects.filter(pk=run.pk).update(**fields)
    announce_now(RUNS, [run.id])


def complete(run: Run) -> None:
    RunValue.objects.filter(run=run).update(output='{"paid":true}')
    run.attempts.filter(outcome="").update(outcome="completed", finished_at=datetime.now(UTC))
    change(run, state="completed", finished_at=datetime.now(UTC), token=None, worker_id=None, lease_end=None)


def test_row_of_the_list_follows_its_run(signed_in: Page, site: str) -> None:
    run, other = make_run(state="running"), make_run()
    open_live(signed_in, f"{site}/runs")
    row = signed_in.locator(f"#{run.public_id}")
    expect(row).to_contain_text("Running")

    complete(run)

    expect(row).to_contain_text("Completed")
    expect(signed_in.locator(f"#{other.public_id}")).to_contain_text("Pending")
    expect_no_reload(signed_in)


def test_new_run_waits_behind_a_pill_and_moves_no_row(signed_in: Page, site: str) -> None:
    make_run()
    open_live(signed_in, f"{site}/runs")

    new = make_run("send-receipt")
    announce_now(RUNS, [new.id])

    pill = signed_in.get_by_role("link", name="1 new run")
    expect(pill).to_be_visible()
    expect(signed_in.locator("[data-row]")).to_have_count(1)
    expect_no_reload(signed_in)
    pill.click()
    expect(signed_in.locator("[data-row]")).to_have_count(2)


def test_empty_list_notices_the_first_run(signed_in: Page, site: str) -> None:
    open_live(signed_in, f"{site}/runs")

    announce_now(RUNS, [make_run().id])

    expect(signed_in.get_by_role("link", name="1 new run")).to_be_visible()


def test_run_page_follows_state_checkpoints_logs_and_output(signed_in: Page, site: str) -> None:
    run = make_run(state="running")
    make_attempt(run)
    make_checkpoint(run, "order-fetched", data='{"order":{"total":"19.90"}}')
    make_log_line(run, "fetching the order")
    open_live(signed_in, f"{site}/runs/{run.public_id}")
    expect(signed_in.locator(".checkpoint")).to_have_count(1)
    expect(signed_in.locator("#output")).to_contain_text("nothing yet")

    make_checkpoint(run, "payment-complete", data='{"payment":"pay_1"}')
    make_log_line(run, "charging the card")
    complete(run)

    expect(signed_in.locator("#run-head")).to_contain_text("Completed")
    expect(signed_in.locator(".checkpoint-key")).to_have_text(["order-fetched", "payment-complete"])
    expect(signed_in.locator(".log-line")).to_have_count(2)
    expect(signed_in.locator("#log")).to_contain_text("charging the card")
    expect(signed_in.locator("#output")).to_contain_text("paid")
    expect(signed_in.locator("#timeline-rows")).to_contain_text("payment-complete")
    expect_no_reload(signed_in)


def test_no_change_is_lost_when_many_come_at_once(signed_in: Page, site: str) -> None:
    run = make_run(state="running")
    make_attempt(run)
    open_live(signed_in, f"{site}/runs/{run.public_id}")

    for number in range(40):
        make_checkpoint(run, f"page-{number}")
        make_log_line(run, f"line {number}")
        announce_now(RUNS, [run.id])
        signed_in.wait_for_timeout(7)  # spread over several refetches, so that some fall into a swap

    expect(signed_in.locator(".checkpoint")).to_have_count(40)
    expect(signed_in.locator(".log-line")).to_have_count(40)
    expect_no_reload(signed_in)


def test_what_the_viewer_opened_stays_open_through_an_update(signed_in: Page, site: str) -> None:
    error = {"type": "ValueError", "message": "no", "stack": "Traceback"}
    run = make_run(state="retrying", error=error)
    open_live(signed_in, f"{site}/runs/{run.public_id}")
    signed_in.locator("#failure-stack summary").click()
    expect(signed_in.locator("#failure-stack pre")).to_be_hidden()

    change(run, state="pending", due_at=None, version=1)

    expect(signed_in.locator("#run-head")).to_contain_text("Pending")
    expect(signed_in.locator("#failure-stack pre")).to_be_hidden()


def test_live_timers_run_between_updates(signed_in: Page, site: str) -> None:
    run = make_run(state="running")
    make_attempt(run)
    open_live(signed_in, f"{site}/runs/{run.public_id}")
    timer = signed_in.locator("#run-head .duration.is-live")
    bar = signed_in.locator(".bar.live").first
    before, width = timer.inner_text(), bar.get_attribute("width")

    expect(timer).not_to_have_text(before)
    expect(bar).not_to_have_attribute("width", width or "")


def test_lost_socket_is_said_and_the_page_polls_until_it_is_back(signed_in: Page, site: str) -> None:
    run = make_run(state="running")
    open_sockets: list[WebSocketRoute] = []
    is_down = False

    def relay(route: WebSocketRoute) -> None:
        if is_down:
            route.close()
        else:
            open_sockets.append(route)
            route.connect_to_server()

    signed_in.route_web_socket("**/ws/dashboard", relay)
    open_live(signed_in, f"{site}/runs")

    is_down = True
    open_sockets[0].close()
    expect(signed_in.locator("#live-state")).to_have_text("Reconnecting")
    complete(run)
    expect(signed_in.locator(f"#{run.public_id}")).to_contain_text("Completed", timeout=POLLING_MILLISECONDS)
    is_down = False

    expect(signed_in.locator("#live-state")).to_have_text(LIVE, timeout=POLLING_MILLISECONDS)
    expect_no_reload(signed_in)
