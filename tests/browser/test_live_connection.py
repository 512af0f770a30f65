"""How a page knows whether it is live: frozen servers, silent and refused sockets, tabs that slept, failed requests."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, WebSocket, WebSocketRoute, expect

from apps.queues.controls import set_task
from apps.runs.models import Run
from tests.browser.conftest import database_url, web_process
from tests.browser.test_live_pages import LIVE, complete
from tests.factories import make_run
from tests.integration.runs.tasks.test_deployments import a_task, deploy

RECOVERY_MILLISECONDS = 30_000
FROZEN_SECONDS = 10.0
"""Within this time a page says that its server does not answer."""

NOTE_WORDS = """
    window.words = [];
    const place = document.querySelector("[data-live-word]");
    new MutationObserver(() => window.words.push(place.textContent)).observe(place, { childList: true });
"""


@pytest.fixture
def own_site(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with web_process(tmp_path) as found:
        yield found


def open_live(page: Page, url: str) -> list[WebSocket]:
    """The page with its socket open; the list holds every socket that it opens."""
    sockets: list[WebSocket] = []

    def note(socket: WebSocket) -> None:
        sockets.append(socket)

    page.on("websocket", note)
    page.goto(url)
    expect(page.locator("#live-state")).to_have_text(LIVE)
    page.evaluate("window.unreloaded = true")
    page.evaluate(NOTE_WORDS)
    return sockets


def expect_live_again(page: Page, run: Run) -> None:
    expect(page.locator("#live-state")).to_have_text(LIVE, timeout=RECOVERY_MILLISECONDS)
    expect(page.locator(f"#{run.public_id}")).to_contain_text("Completed")
    assert page.evaluate("window.unreloaded") is True


def next_beat(page: Page, socket: WebSocket) -> None:
    with socket.expect_event("framereceived", lambda frame: '"beat"' in str(frame), timeout=RECOVERY_MILLISECONDS):
        pass


def test_frozen_server_is_said_in_time_and_its_pages_catch_up_when_it_thaws(
    signed_in: Page, complaints: list[str], own_site: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, process = own_site
    run = make_run()
    second = signed_in.context.new_page()
    tabs = {page: open_live(page, f"{url}/runs") for page in (signed_in, second)}

    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    for page in tabs:
        expect(page.locator("#live-state")).to_have_text("No answer", timeout=FROZEN_SECONDS * 1000)
    assert time.monotonic() - began < FROZEN_SECONDS
    complete(run)
    os.kill(process.pid, signal.SIGCONT)

    for page, sockets in tabs.items():
        expect_live_again(page, run)
        next_beat(page, sockets[-1])
        assert [socket.is_closed() for socket in sockets].count(False) == 1
        words = page.evaluate("window.words")
        assert (words[0], words[-1], words.count("Live")) == ("No answer", "Live", 1)
    complaints.clear()  # the browser's own words on sockets and requests that got no answer


def test_page_polls_and_says_so_while_its_server_hears_of_no_changes(signed_in: Page, tmp_path: Path) -> None:
    name = database_url().rpartition("/")[2]
    deaf = f"postgres://trigger@{quote(str(tmp_path), safe='')}/{name}"
    run = make_run()
    with web_process(tmp_path, TRIGGER_LISTEN_DATABASE_URL=deaf) as (url, _):
        signed_in.goto(f"{url}/runs")
        expect(signed_in.locator("#live-state")).to_have_text("Polling")

        complete(run)

        expect(signed_in.locator(f"#{run.public_id}")).to_contain_text("Completed", timeout=RECOVERY_MILLISECONDS)
        expect(signed_in.locator("#live-state")).to_have_text("Polling")


def test_socket_that_opens_and_stays_silent_is_given_up(signed_in: Page, site: str) -> None:
    run = make_run()
    silent: list[WebSocketRoute] = []

    def relay(route: WebSocketRoute) -> None:
        if silent:
            route.connect_to_server()
        else:
            silent.append(route)  # open, and that is all

    signed_in.route_web_socket("**/ws/dashboard", relay)
    signed_in.goto(f"{site}/runs")
    signed_in.evaluate("window.unreloaded = true")
    complete(run)

    expect_live_again(signed_in, run)


def test_socket_that_is_closed_at_once_is_asked_for_less_and_less_often(signed_in: Page, site: str) -> None:
    attempts: list[float] = []

    def refuse(route: WebSocketRoute) -> None:
        attempts.append(time.monotonic())
        route.close()

    signed_in.route_web_socket("**/ws/dashboard", refuse)
    signed_in.goto(f"{site}/runs")
    deadline = time.monotonic() + RECOVERY_MILLISECONDS / 1000
    while len(attempts) < 5:
        assert time.monotonic() < deadline
        signed_in.wait_for_timeout(50)

    expect(signed_in.locator("#live-state")).to_have_text("Reconnecting")
    assert attempts[4] - attempts[3] > 1.9  # the fourth pause; the first is at most 0.5 s


def test_tab_that_slept_does_not_take_its_server_for_frozen(signed_in: Page, site: str) -> None:
    run = make_run()
    signed_in.clock.install()
    (socket,) = open_live(signed_in, f"{site}/runs")

    signed_in.clock.fast_forward(60_000)  # timers that were due meanwhile come late, and before what was sent meanwhile
    next_beat(signed_in, socket)
    complete(run)

    expect_live_again(signed_in, run)
    assert signed_in.evaluate("window.words") == []
    assert not socket.is_closed()


def test_page_that_is_looked_at_again_connects_at_once(signed_in: Page, site: str) -> None:
    is_down = False
    routes: list[WebSocketRoute] = []

    def relay(route: WebSocketRoute) -> None:
        if is_down:
            route.close()
        else:
            routes.append(route)
            route.connect_to_server()

    signed_in.clock.install()
    signed_in.route_web_socket("**/ws/dashboard", relay)
    open_live(signed_in, f"{site}/runs")
    signed_in.clock.pause_at(signed_in.evaluate("Date.now()") + 1000)  # no pause between two attempts ends by itself
    is_down = True
    routes[0].close()
    expect(signed_in.locator("#live-state")).to_have_text("Reconnecting")
    is_down = False

    signed_in.evaluate('document.dispatchEvent(new Event("visibilitychange"))')

    expect(signed_in.locator("#live-state")).to_have_text(LIVE)


def test_update_that_failed_is_asked_for_again(signed_in: Page, complaints: list[str], site: str) -> None:
    run, failed = make_run(), []
    open_live(signed_in, f"{site}/runs")

    def fail_once(route: object) -> None:
        if failed:
            route.fallback()  # type: ignore[attr-defined]
        else:
            failed.append(route)
            route.fulfill(status=503, body="busy")  # type: ignore[attr-defined]

    signed_in.route("**/runs/rows**", fail_once)
    complete(run)

    expect(signed_in.locator(f"#{run.public_id}")).to_contain_text("Completed", timeout=RECOVERY_MILLISECONDS)
    assert failed
    assert signed_in.evaluate("window.words") == []
    assert all("503" in each for each in complaints)
    complaints.clear()


def test_refused_topic_leaves_the_others_live(signed_in: Page, site: str) -> None:
    run = make_run()
    (socket,) = open_live(signed_in, f"{site}/runs")
    with socket.expect_event("framereceived", lambda frame: '"refused": "nothing:x"' in str(frame)):
        signed_in.evaluate("""
            document.getElementById("main").insertAdjacentHTML("beforeend", '<i id="odd" data-live="nothing:x"></i>');
            htmx.process(document.getElementById("odd"));
            htmx.trigger(document.body, "htmx:load");
        """)

    complete(run)

    expect_live_again(signed_in, run)


def test_tasks_page_follows_what_is_deployed_and_set(signed_in: Page, site: str) -> None:
    open_live(signed_in, f"{site}/tasks")
    expect(signed_in.get_by_text("No tasks yet")).to_be_visible()

    deploy(b"one", a_task("process-order"))
    expect(signed_in.get_by_role("button", name="Pause process-order")).to_be_visible()
    set_task("process-order", is_paused=True, max_concurrency=7)

    expect(signed_in.get_by_role("button", name="Resume process-order")).to_be_visible()
    expect(signed_in.locator(".cell-limits")).to_contain_text("7 at once")
    assert signed_in.evaluate("window.unreloaded") is True
