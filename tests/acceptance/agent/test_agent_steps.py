"""Steps through a real agent: what is sent, what is requested, several at once, and stops while they wait."""

import json
from pathlib import Path

from trigger_sdk.wire import Frame

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import Attempt, Proxy, Stored, save_always

PAGES = """
import asyncio
from trigger_sdk import step

async def fetch(number):
    log.info(f"fetching {number}")
    return {"page": number}

@task(id="pages")
async def pages(count: int):
    return await asyncio.gather(*(step(f"page-{number}", fetch, number) for number in range(count)))
"""


def test_results_are_sent_as_steps_and_returned_on_the_next_attempt(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", PAGES))

    first = proxy.run("pages", b'{"count": 2}', folder=tmp_path)
    first.end()
    frames = sorted(first.checkpoints, key=lambda frame: frame.header["key"])
    stored = [Stored(frame.header["key"], index, [], frame.body, kind="step") for index, frame in enumerate(frames)]
    second = proxy.run("pages", b'{"count": 3}', number=2, stored=stored, folder=tmp_path)
    second.end()

    assert [(frame.header["key"], frame.header["kind"], frame.body) for frame in frames] == [
        ("page-0", "step", b'{"page":0}'),
        ("page-1", "step", b'{"page":1}'),
    ]
    assert all(frame.header["duration_seconds"] >= 0 for frame in frames)
    assert second.wait("begun").header["resumed_from"] is None
    assert [frame.header["key"] for frame in second.checkpoints] == ["page-2"]
    assert [frame.header["message"] for frame in second.of("log")] == ["fetching 2"]
    assert json.loads(second.wait("completed").body) == [{"page": 0}, {"page": 1}, {"page": 2}]


def test_steps_wait_for_their_answers_together(proxy: Proxy, tmp_path: Path) -> None:
    """Answers come in the reverse order, and only when all have been asked for."""
    held: list[Frame] = []

    def answer(attempt: Attempt, frame: Frame) -> Frame | None:
        held.append(frame)
        if len(held) < 8:
            return None
        assert attempt.peer is not None
        for number, waiting in enumerate(reversed(held)):
            attempt.peer.send("saved", sequence=waiting.header["sequence"], index=number)
        return None

    proxy.ready(folder_with(tmp_path / "tasks", PAGES))

    attempt = proxy.run("pages", b'{"count": 8}', answer=answer, folder=tmp_path)
    attempt.end()

    assert json.loads(attempt.wait("completed").body) == [{"page": number} for number in range(8)]


def test_large_results_are_loaded_when_they_are_asked_for(proxy: Proxy, tmp_path: Path) -> None:
    def answer(attempt: Attempt, frame: Frame) -> Frame | None:
        if frame.type == "load":
            assert frame.header["index"] == 1
            return Frame("loaded", {"sequence": frame.header["sequence"], "is_found": True}, b'{"page":"stored"}')
        return save_always(attempt, frame)

    proxy.ready(folder_with(tmp_path / "tasks", PAGES))
    stored = [
        Stored("page-0", 0, [], b'{"page":0}', kind="step"),
        Stored("page-1", 1, [], None, kind="step"),
        Stored("never-asked", 2, [], None, kind="step"),
    ]

    attempt = proxy.run("pages", b'{"count": 2}', number=2, stored=stored, answer=answer, folder=tmp_path)
    attempt.end()

    assert [frame.header["key"] for frame in attempt.of("load")] == ["page-1"]
    assert json.loads(attempt.wait("completed").body) == [{"page": 0}, {"page": "stored"}]


def test_result_that_cannot_be_loaded_fails_the_attempt(proxy: Proxy, tmp_path: Path) -> None:
    def answer(attempt: Attempt, frame: Frame) -> Frame | None:
        return Frame("loaded", {"sequence": frame.header["sequence"], "is_found": False})

    proxy.ready(folder_with(tmp_path / "tasks", PAGES))
    stored = [Stored("page-0", 0, [], None, kind="step")]

    attempt = proxy.run("pages", b'{"count": 1}', number=2, stored=stored, answer=answer, folder=tmp_path)
    attempt.end()

    error = attempt.wait("failed").header["error"]
    assert error["message"] == "could not load the result of step 'page-0'"
    assert attempt.of("log") == []


def test_results_of_a_newer_codec_abort_the_run_before_its_code_runs(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", PAGES))
    stored = [Stored("page-0", 0, [], b"{}", kind="step", codec=2)]

    attempt = proxy.run("pages", b'{"count": 1}', number=2, stored=stored, folder=tmp_path)
    attempt.end()

    failed = attempt.wait("failed").header
    assert failed["is_abort"] is True
    assert failed["error"]["type"] == "trigger_sdk.errors.ResumeRefused"


def test_stop_reaches_a_task_whose_steps_wait_for_the_database(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", PAGES))
    attempt = proxy.run("pages", b'{"count": 4}', answer=lambda attempt, frame: None, folder=tmp_path)
    attempt.wait("checkpoint")

    proxy.stop(attempt, "canceled", 120)
    exited = attempt.end()

    failed = attempt.wait("failed").header
    assert (failed["error"]["type"], failed["stop_reason"]) == ("trigger_sdk.errors.RunCanceled", "canceled")
    assert exited.header["signal"] is None


def test_limit_of_a_blocking_step_and_a_stop_do_not_disturb_each_other(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import time
from trigger_sdk import Retry, step

def wait(seconds):
    log.info("waiting")
    time.sleep(seconds)

@task(id="slow")
def slow():
    return step("wait", wait, 60, timeout=0.1, retry=Retry(max_attempts=200, initial=0.01, max=0.01))
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("slow", b"{}", folder=tmp_path)
    attempt.wait_line("step 'wait' failed, try 2 of 200")

    proxy.stop(attempt, "canceled", 120)
    attempt.end()

    assert attempt.wait("failed").header["error"]["type"] == "trigger_sdk.errors.RunCanceled"


def test_abort_in_a_group_of_tasks_aborts_the_run(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import asyncio

async def give_up():
    raise AbortRun("never")

@task(id="groups")
async def groups():
    async with asyncio.TaskGroup() as group:
        group.create_task(give_up())
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("groups", b"{}", folder=tmp_path)
    attempt.end()

    failed = attempt.wait("failed").header
    assert (failed["is_abort"], failed["error"]["type"]) == (True, "ExceptionGroup")
