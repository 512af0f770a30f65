"""Processes that take several runs (`warm_start="same_process"`): what the next run sees of the previous one, and what
ends them."""

import json
import os
import signal
import socketserver
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import DEADLINE_SECONDS, Attempt, Proxy, Stored, process_is_gone, wait_for

COUNTED = """
seen = []
@task(id="count", warm_start="same_process")
def count(size: int = 0):
    seen.append(1)
    return [os.getpid(), len(seen)]
"""


def runs_of(proxy: Proxy, tmp_path: Path, task: str, *payloads: Any) -> list[Attempt]:
    """One run after the other in one process, each in a folder of its own; waits for the end of each."""
    attempts: list[Attempt] = []
    for number, payload in enumerate(payloads):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        data = json.dumps(payload).encode()
        if attempts:
            attempts.append(proxy.resume(attempts[-1], data, folder=folder, run_id=f"run_{number}"))
        else:
            attempts.append(proxy.run(task, data, folder=folder, run_id="run_0", is_kept=True))
        attempts[-1].wait("idle")
    return attempts


def output_of(attempt: Attempt) -> Any:
    return json.loads(attempt.wait("completed").body)


def test_next_run_finds_process_and_modules_of_the_one_before(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", COUNTED))

    outputs = [output_of(attempt) for attempt in runs_of(proxy, tmp_path, "count", {}, {}, {})]

    pid = outputs[0][0]
    assert outputs == [[pid, 1], [pid, 2], [pid, 3]]


LEAVE = """
import asyncio, contextvars, decimal, random, signal, tempfile, logging
from trigger_sdk import current_run, idempotency_key
marked = contextvars.ContextVar("marked", default=None)

@task(id="look", warm_start="same_process")
def look(name: str):
    found = {
        "run": current_run().id, "key": idempotency_key("k"), "folder": os.getcwd(), "home": os.environ["HOME"],
        "temporary": tempfile.gettempdir(), "variable": os.environ.get("LEFT"), "umask": os.umask(0o22),
        "alarm": signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, "timer": signal.getitimer(signal.ITIMER_REAL)[0],
        "context": marked.get(), "files": os.listdir("."), "path": os.environ["PATH"],
    }
    print("print of", name)
    logging.getLogger("app").info("logging of %s", name)
    log.info("log of", name=name)
    open("left", "w").close()
    os.environ["LEFT"] = name
    del os.environ["PATH"]
    os.umask(0)
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 60)
    marked.set(name)
    os.chdir("/")
    sys.stdout = sys.stderr = open(os.devnull, "w")
    logging.getLogger().handlers.clear()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return found
"""


def test_what_a_run_leaves_outside_its_modules_is_gone_for_the_next(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", LEAVE))

    attempts = runs_of(proxy, tmp_path, "look", {"name": "A"}, {"name": "B"})
    first, second = map(output_of, attempts)

    assert [first.pop("run"), second.pop("run")] == ["run_0", "run_1"]
    assert first.pop("key") != second.pop("key")
    for number, found in enumerate((first, second)):
        place = str(tmp_path / f"run-{number}")
        assert [found.pop(name) for name in ("folder", "home", "temporary")] == [place] * 3
    assert second == first
    assert second["variable"] is second["context"] is None
    assert second["files"] == []
    for attempt, name in zip(attempts, "AB", strict=True):
        assert attempt.lines() == [f"print of {name}", f"logging of {name}", "log of"]


RAW = """
@task(id="raw", warm_start="same_process")
def raw(name: str, noise: int = 0):
    if noise:
        os.write(2, (name * 99 + "\\n").encode() * noise)
        subprocess.run(["echo", "-n", f"echo of {name}"])
    return name
"""


def test_output_past_print_is_the_runs_that_wrote_it(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", RAW))

    silent, *_ = runs_of(proxy, tmp_path, "raw", {"name": "S"})
    assert silent.wait("idle").header["has_raw_output"] is False

    previous = silent
    for number in range(5):
        name = chr(ord("A") + number)
        payload = json.dumps({"name": name, "noise": 5000}).encode()
        attempt = proxy.resume(previous, payload, folder=tmp_path)
        assert attempt.wait("idle").header["has_raw_output"] is True
        proxy.settle(attempt)
        attempt.wait("settled")
        previous = proxy.resume(attempt, b'{"name": "quiet"}', folder=tmp_path)
        assert previous.wait("idle").header["has_raw_output"] is False

        assert attempt.lines("stderr") == [name * 99] * 5000
        assert attempt.lines("stdout") == [f"echo of {name}"]
        assert previous.lines() == []


def test_processes_that_a_run_leaves_are_ended_before_the_next(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="litter", warm_start="same_process")
def litter():
    return subprocess.Popen(["sleep", "600"]).pid
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    first, second = runs_of(proxy, tmp_path, "litter", {}, {})

    assert process_is_gone(output_of(first))
    assert process_is_gone(output_of(second))


STOPPERS = """
import threading
@task(id="thread", warm_start="same_process")
def thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True, name="poller").start()

@task(id="fails", warm_start="same_process")
def fails():
    raise ValueError("no")

@task(id="closes", warm_start="same_process")
def closes():
    os.closerange(3, 256)
"""


@pytest.mark.parametrize(
    ("task", "said"), [("thread", "completed"), ("fails", "failed"), ("closes", None)], ids=lambda value: str(value)
)
def test_process_that_may_not_be_clean_takes_no_further_run(
    proxy: Proxy, tmp_path: Path, task: str, said: str | None
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", STOPPERS))

    attempt = proxy.run(task, folder=tmp_path, is_kept=True)
    attempt.end()

    assert attempt.of("idle") == []
    assert said is None or attempt.of(said)
    if task == "thread":
        assert "1 thread running (poller)" in attempt.lines("system")[0]


def test_pool_of_threads_that_ends_with_its_block_does_not_prevent_reuse(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import asyncio
from concurrent.futures import ThreadPoolExecutor
@task(id="pool", warm_start="same_process")
async def pool():
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(str, range(8)))
    return found + [await asyncio.to_thread(str, 8)]
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempts = runs_of(proxy, tmp_path, "pool", *[{}] * 20)

    assert all(output_of(attempt) == [str(n) for n in range(9)] for attempt in attempts)


SLEEPS = """
@task(id="sleep", warm_start="same_process")
def sleep(seconds: float = 0):
    try:
        print("sleeping")
        time.sleep(seconds)
    finally:
        print("cleaned up")
    return os.getpid()

@task(id="deaf", warm_start="same_process")
def deaf(seconds: float = 0):
    while time.monotonic() and seconds:
        try:
            print("deaf")
            time.sleep(seconds)
        except BaseException:
            pass
"""


@pytest.mark.parametrize(("reason", "kind"), [("canceled", "RunCanceled"), ("timed_out", "RunTimedOut")])
def test_later_run_of_a_process_is_stopped_like_a_first_one(
    proxy: Proxy, tmp_path: Path, reason: str, kind: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SLEEPS))
    (first,) = runs_of(proxy, tmp_path, "sleep", {})

    second = proxy.resume(first, b'{"seconds": 600}', folder=tmp_path)
    second.wait_line("sleeping")
    proxy.stop(second, reason, 120)
    exited = second.end()

    assert second.of("failed")[0].header["stop_reason"] == reason
    assert kind in second.of("failed")[0].header["error"]["type"]
    assert second.lines() == ["sleeping", "cleaned up"]
    assert exited.header["exit_code"] == 0
    assert second.of("idle") == []
    assert process_is_gone(output_of(first))


def test_later_run_that_does_not_listen_is_killed(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SLEEPS))
    (first,) = runs_of(proxy, tmp_path, "deaf", {})

    second = proxy.resume(first, b'{"seconds": 600}', folder=tmp_path)
    second.wait_line("deaf")
    proxy.stop(second, "canceled", 0.3)

    assert second.end().header["signal"] == signal.SIGKILL


def test_process_that_waits_ends_when_it_is_told_and_when_its_connection_ends(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SLEEPS))
    (told,) = runs_of(proxy, tmp_path, "sleep", {})
    proxy.stop(told, "retired", 120)
    assert told.end().header["exit_code"] == 0

    (left,) = [proxy.run("sleep", folder=tmp_path, is_kept=True)]
    left.wait("idle")
    assert left.peer is not None
    left.peer.connection.shutdown(2)
    assert left.end().header["exit_code"] == 0


def test_process_that_is_killed_while_it_waits_is_reported(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SLEEPS))
    (waiting,) = runs_of(proxy, tmp_path, "sleep", {})

    os.kill(output_of(waiting), signal.SIGKILL)

    assert waiting.end().header["signal"] == signal.SIGKILL


def test_processes_that_wait_end_with_their_worker(proxy: Proxy, tmp_path: Path) -> None:
    agent = proxy.start_agent(folder_with(tmp_path / "tasks", SLEEPS))
    proxy.expect("ready")
    (waiting,) = runs_of(proxy, tmp_path, "sleep", {})

    proxy.cut()

    wait_for(lambda: process_is_gone(output_of(waiting)), "the process that waited is gone")
    assert agent.wait(DEADLINE_SECONDS) == 3


def test_concurrent_runs_have_their_own_processes(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", COUNTED))

    attempts = [proxy.run("count", folder=tmp_path, is_kept=True) for _ in range(3)]
    for attempt in attempts:
        attempt.wait("idle")

    assert len({output_of(attempt)[0] for attempt in attempts}) == 3
    proxy.stop(attempts[0], "retired", 120)
    attempts[0].end()
    again = proxy.resume(attempts[1], folder=tmp_path)
    again.wait("idle")
    assert output_of(again) == [output_of(attempts[1])[0], 2], "the clean-up after one leaves the others alone"


def test_fresh_interpreter_is_kept_too_and_keeps_the_threads_of_its_import(proxy: Proxy, tmp_path: Path) -> None:
    source = "import threading\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n" + COUNTED
    ready = proxy.ready(folder_with(tmp_path / "tasks", source))
    assert ready.header["can_fork"] is False

    first, second = runs_of(proxy, tmp_path, "count", {}, {})

    assert [output_of(first)[1], output_of(second)[1]] == [1, 2]
    assert second.wait("idle").header["has_raw_output"] is True, "it cannot know"


def test_later_run_resumes_from_its_own_checkpoints(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="two", warm_start="same_process")
def two(n: int):
    first = n + 1
    checkpoint("one", {"first": first})
    print("after", first)
    return first
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    first = proxy.run("two", b'{"n": 1}', folder=tmp_path, is_kept=True)
    first.wait("idle")

    stored = [Stored("one", 0, ["first"], b'{"first":40}')]
    second = proxy.resume(first, b'{"n": 1}', folder=tmp_path, stored=stored)
    second.wait("idle")
    third = proxy.resume(second, b'{"n": 5}', folder=tmp_path)
    third.wait("idle")

    assert [output_of(attempt) for attempt in (first, second, third)] == [2, 40, 6]
    assert [len(attempt.checkpoints) for attempt in (first, second, third)] == [1, 0, 1]
    assert [attempt.lines() for attempt in (first, second, third)] == [["after 2"], ["after 40"], ["after 6"]]


def test_a_thousand_runs_through_one_process_let_nothing_grow(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="work", warm_start="same_process")
def work(number: int):
    print("run", number)
    held = [str(index) for index in range(1000)]
    return [os.getpid(), len(os.listdir("/proc/self/fd")), len(held)]
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("work", b'{"number": 0}', folder=tmp_path, is_kept=True)
    attempt.wait("idle")
    sizes, outputs = [], []

    for number in range(1, 1001):
        attempt = proxy.resume(attempt, json.dumps({"number": number}).encode(), folder=tmp_path)
        idle = attempt.wait("idle")
        assert attempt.lines() == [f"run {number}"]
        sizes.append(idle.header["peak_memory_bytes"])
        outputs.append(output_of(attempt))

    assert len({(pid, files) for pid, files, _ in outputs}) == 1
    assert sizes[-1] < sizes[99] + 500_000


def test_peak_memory_is_the_runs_own(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="eat", warm_start="same_process")
def eat(megabytes: int):
    return len(b"x" * (megabytes << 20))
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempts = runs_of(proxy, tmp_path, "eat", *({"megabytes": size} for size in (1, 100, 1)))
    before, large, after = (attempt.wait("idle").header["peak_memory_bytes"] for attempt in attempts)

    assert large > before + 90_000_000
    if after is None:
        pytest.skip("this kernel does not let a process reset its peak memory (/proc/self/clear_refs)")
    assert after < large - 90_000_000


KEPT_CONNECTION = """
import asyncio, contextvars
from concurrent.futures import ThreadPoolExecutor
connection = None
marked = contextvars.ContextVar("marked", default=None)

async def poll():
    while True:
        await asyncio.sleep(3600)

async def connected(port):
    global connection
    if connection is None:
        connection = await asyncio.open_connection("127.0.0.1", port)
    return connection

@task(id="ask", warm_start="same_process")
async def ask(port: int, word: str):
    found = [marked.get(), len(asyncio.all_tasks())]
    await checkpoint("asked", found=found)
    marked.set(word)
    asyncio.create_task(poll())
    reader, writer = await connected(port)
    writer.write(word.encode() + b"\\n")
    await writer.drain()
    answer = (await reader.readline()).decode().strip()
    task = asyncio.current_task()
    task.print_stack()
    return [os.getpid(), answer, await asyncio.to_thread(str, 8), *found, task.get_coro().__qualname__, repr(task)]
"""


def test_connection_of_an_async_task_is_kept_from_run_to_run(proxy: Proxy, tmp_path: Path) -> None:
    """The server answers with the number of the connection, so a second connection would show."""
    proxy.ready(folder_with(tmp_path / "tasks", KEPT_CONNECTION))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        payloads = [{"port": server.server_address[1], "word": word} for word in ("one", "two", "three", "four")]

        outputs = [output_of(attempt) for attempt in runs_of(proxy, tmp_path, "ask", *payloads)]
        server.shutdown()

    pid, port = outputs[0][0], outputs[0][1].split()[1]
    for output in outputs:
        assert "coro=<ask() running at" in output.pop()
    assert outputs == [[pid, f"{word} {port}", "8", None, 1, "ask"] for word in ("one", "two", "three", "four")]


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.strip() + f" {self.client_address[1]}\n".encode())


def test_async_run_that_fails_ends_its_process_and_its_tasks(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import asyncio

async def poll():
    try:
        await asyncio.sleep(3600)
    finally:
        print("poll ended")

@task(id="fails", warm_start="same_process")
async def fails():
    asyncio.create_task(poll())
    await asyncio.sleep(0)
    raise ValueError("no")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("fails", folder=tmp_path, is_kept=True)

    assert attempt.end().header["exit_code"] == 0
    assert attempt.of("failed")
    assert attempt.of("idle") == []
    assert attempt.lines() == ["poll ended"]
