"""`GET /runs/{id}?wait_seconds=` on a real server: prompt, bounded, and cheap for many at once."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from apps.runs.lifecycle import cancel
from apps.runs.models import Run
from tests.factories import bearer, make_run
from tests.live_server import Answer, LiveServer, running_server

pytestmark = pytest.mark.django_db(transaction=True)

PROMPT_SECONDS = 20.0
"""Below the wait, and below the poll that would find a change without a notification, which a test puts off."""


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with running_server(bearer("viewer")) as live:
        yield live


def wait_for(server: LiveServer, run: Run, seconds: float) -> tuple[Answer, float]:
    began = time.monotonic()
    answer = server.call("GET", f"/api/v1/runs/{run.public_id}?wait_seconds={seconds}")
    return answer, time.monotonic() - began


def until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waiting_count() -> int:
    """The waits that have read their run for the first time and hold nothing now."""
    return len(_subscribers())


def _subscribers() -> list[object]:
    from apps.live.hub import _hubs

    return [one for hub in list(_hubs.values()) for several in hub._subscriptions.values() for one in several]


def listening() -> bool:
    from apps.live.hub import _hubs

    return any(hub.is_listening.is_set() for hub in list(_hubs.values()))


def test_a_final_run_is_answered_at_once(server: LiveServer) -> None:
    answer, seconds = wait_for(server, make_run(state="completed", output='{"n":1}'), 30)

    assert answer.json()["output"] == {"n": 1}
    assert seconds < 20


def test_a_wait_ends_with_its_time_and_shows_the_present_state(server: LiveServer) -> None:
    answer, seconds = wait_for(server, make_run(), 1.5)

    assert answer.status == 200
    assert answer.json()["state"] == "pending"
    assert 1.5 <= seconds < 20


def test_a_wait_returns_promptly_on_the_change(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.runs.api.long_polls.POLL_SECONDS", 60.0)
    run = make_run()
    wait_for(server, make_run(), 0.1)
    until(listening)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for, server, run, 30)
        until(lambda: waiting_count() == 1)
        changed = time.monotonic()
        cancel(run.id)
        answer, _ = waiting.result()
        seconds = time.monotonic() - changed

    assert answer.json()["state"] == "canceled"
    assert seconds < PROMPT_SECONDS


def test_a_change_whose_notification_was_lost_is_seen_by_polling(server: LiveServer) -> None:
    run = make_run()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_for, server, run, 30)
        until(lambda: waiting_count() == 1)
        with connection.cursor() as cursor:  # no verb, so nobody is told
            cursor.execute("UPDATE runs_run SET state = 'canceled', finished_at = now() WHERE id = %s", [run.id])
        answer, seconds = waiting.result()

    assert answer.json()["state"] == "canceled"
    assert seconds < 20


def test_many_waits_hold_neither_threads_nor_connections(server: LiveServer) -> None:
    runs = [make_run() for _ in range(30)]
    wait_for(server, runs[0], 0.1)
    with ThreadPoolExecutor(len(runs)) as pool:
        waits = [pool.submit(wait_for, server, run, 20) for run in runs]
        until(lambda: waiting_count() == len(runs))

        # More waits than the pool has connections: another call still gets through.
        began = time.monotonic()
        assert server.call("GET", "/api/v1/runs?limit=1").status == 200
        assert time.monotonic() - began < 15
        until(lambda: request_threads() == 0)

        for run in runs:
            cancel(run.id)
        assert {wait.result()[0].json()["state"] for wait in waits} == {"canceled"}
    assert waiting_count() == 0


def request_threads() -> int:
    """Threads that Django keeps for single requests: pools of one, unlike the loop's shared ones."""
    return sum(thread.name.startswith("ThreadPoolExecutor-") and _is_of_one(thread) for thread in threading.enumerate())


def _is_of_one(thread: threading.Thread) -> bool:
    from asgiref.sync import SyncToAsync

    return any(thread in pool._threads for pool in list(SyncToAsync.context_to_thread_executor.values()))


def test_an_unknown_run_is_answered_at_once(server: LiveServer) -> None:
    began = time.monotonic()
    answer = server.call("GET", "/api/v1/runs/run_01m81zhhbteassqbqdg73wfv6n?wait_seconds=30")

    assert answer.status == 404
    assert time.monotonic() - began < 20
