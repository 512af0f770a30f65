"""How runs end before their code does: stopped with a reason, or along with their agent or their worker."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import DEADLINE_SECONDS, Proxy, process_is_gone, wait_for

STOPPABLE = """
@task(id="sleep")
def sleep():
    try:
        print("ready")
        time.sleep(60)
    except BaseException as error:
        log.info("raised", type=type(error).__name__)
        raise
    finally:
        log.info("cleaned up")

@task(id="read")
def read():
    import socket
    ours, theirs = socket.socketpair()
    try:
        print("ready")
        ours.recv(1)
    finally:
        log.info("cleaned up")

@task(id="sleep-async")
async def sleep_async():
    import asyncio
    try:
        print("ready")
        await asyncio.sleep(60)
    except RunCanceled as error:
        log.info("raised", type=type(error).__name__)
        await asyncio.sleep(0.01)
        raise
    finally:
        log.info("cleaned up")

@task(id="group-async")
async def group_async():
    import asyncio
    async def part():
        try:
            await asyncio.sleep(60)
        finally:
            log.info("part ended")
    async with asyncio.TaskGroup() as group:
        group.create_task(part())
        group.create_task(part())
        await asyncio.sleep(0)  # both have begun: one that has not is canceled without a word
        print("ready")

@task(id="stubborn")
def stubborn():
    try:
        print("ready")
        time.sleep(60)
    except RunTimedOut:
        print("caught")
    checkpoint("late")

@task(id="done-anyway")
def done_anyway():
    try:
        print("ready")
        time.sleep(60)
    except RunCanceled:
        return "done anyway"

@task(id="deaf")
def deaf():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready")
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("reason", "exception"),
    [("canceled", "RunCanceled"), ("timed_out", "RunTimedOut"), ("interrupted", "RunInterrupted")],
)
def test_stop_is_raised_with_its_reason_and_cleanup_runs(
    proxy: Proxy, tmp_path: Path, reason: str, exception: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, reason, 120)
    failed = attempt.wait("failed")

    assert failed.header["stop_reason"] == reason
    assert failed.header["error"]["type"] == f"trigger_sdk.errors.{exception}"
    assert attempt.end().header["signal"] is None
    # The last lines may come after the outcome.
    raised, cleaned = attempt.of("log")[1:]
    assert (raised.header["fields"], cleaned.header["message"]) == ({"type": exception}, "cleaned up")


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ("read", ["ready", "cleaned up"]),
        ("sleep-async", ["ready", "raised", "cleaned up"]),
        ("group-async", ["ready", "part ended", "part ended"]),
    ],
)
def test_stop_reaches_blocking_reads_and_awaits(proxy: Proxy, tmp_path: Path, task: str, lines: list[str]) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run(task, folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "canceled", 120)
    failed = attempt.wait("failed")

    assert failed.header["stop_reason"] == "canceled"
    assert "RunCanceled" in json.dumps(failed.header["error"])
    attempt.end()
    assert attempt.lines() == lines


def test_checkpoint_after_a_caught_stop_raises_it_again(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("stubborn", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "timed_out", 120)
    failed = attempt.wait("failed")

    assert failed.header["error"]["type"] == "trigger_sdk.errors.RunTimedOut"
    attempt.end()
    assert attempt.lines() == ["ready", "caught"]
    assert attempt.checkpoints == []


def test_stop_while_the_database_is_away_does_not_wait_for_it(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import asyncio
async def say_that_the_loop_runs():
    await asyncio.sleep(0.1)
    print("waiting")

@task(id="save")
async def save():
    asyncio.create_task(say_that_the_loop_runs())
    await checkpoint("first")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("save", folder=tmp_path, answer=lambda *_: None)
    attempt.wait("checkpoint")
    attempt.wait_line("waiting")

    proxy.stop(attempt, "interrupted", 120)
    failed = attempt.wait("failed")

    assert failed.header["stop_reason"] == "interrupted"


def test_task_that_returns_in_spite_of_a_stop_has_completed(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("done-anyway", folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, "canceled", 120)

    assert attempt.wait("completed").body == b'"done anyway"'


def test_task_that_does_not_react_is_killed_after_the_grace(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("deaf", folder=tmp_path)
    attempt.wait_line("ready")

    begin = time.monotonic()
    proxy.stop(attempt, "canceled", 0.5)
    exited = attempt.end()

    assert exited.header["signal"] == signal.SIGKILL
    assert exited.header["is_out_of_memory"] is False
    assert time.monotonic() - begin >= 0.5


def test_somebody_elses_sigterm_is_not_taken_for_a_stop(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPABLE))
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")

    os.kill(attempt.wait("started").header["pid"], signal.SIGTERM)
    exited = attempt.end()

    assert exited.header["signal"] == signal.SIGTERM
    assert attempt.of("failed") == []


def test_stops_in_a_storm_of_output_never_break_a_frame(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="talk")
def talk():
    print("ready")
    while True:
        print("x" * 60_000)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    for _ in range(12):
        attempt = proxy.run("talk", folder=tmp_path)
        attempt.wait_line("ready")

        proxy.stop(attempt, "canceled", 120)

        assert attempt.wait("failed").header["stop_reason"] == "canceled"
        attempt.end()


def test_killed_agent_takes_its_children_along(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    attempt = next(iter(proxy.attempts.values()))

    process.kill()

    pid = attempt.wait("started").header["pid"]
    wait_for(lambda: process_is_gone(pid), "the child died with its agent")


def test_lost_worker_ends_runs_after_three_seconds(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    pid = next(iter(proxy.attempts.values())).wait("started").header["pid"]

    begin = time.monotonic()
    proxy.cut()

    assert process.wait(DEADLINE_SECONDS) == 3
    assert time.monotonic() - begin > 2.5
    assert process_is_gone(pid)


def test_worker_that_returns_finds_its_runs_alive(proxy: Proxy, tmp_path: Path) -> None:
    source = "@task(id='one')\ndef one():\n    time.sleep(0.5)\n    os.write(1, b'still here\\n')\n    time.sleep(60)\n"
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("one", folder=tmp_path)
    attempt.wait("begun")

    proxy.cut()
    proxy.listen()
    proxy.expect("ready")

    assert [hello.header["secret"] for hello in proxy.hellos] == [None, proxy.secret]
    attempt.wait_line("still here")
    assert len(attempt.of("started")) == 2
    proxy.stop(attempt, "canceled", 0)
    assert attempt.wait("exited").header["signal"] == signal.SIGKILL


def test_sigterm_ends_the_agent_and_its_runs(proxy: Proxy, tmp_path: Path) -> None:
    process = start_and_sleep(proxy, tmp_path)
    attempt = next(iter(proxy.attempts.values()))

    process.terminate()

    assert attempt.wait("exited").header["signal"] == signal.SIGKILL
    assert process.wait(DEADLINE_SECONDS) == 0


def start_and_sleep(proxy: Proxy, tmp_path: Path) -> "subprocess.Popen[bytes]":
    process = proxy.start_agent(folder_with(tmp_path / "tasks", STOPPABLE))
    proxy.expect("ready")
    attempt = proxy.run("sleep", folder=tmp_path)
    attempt.wait_line("ready")
    return process
