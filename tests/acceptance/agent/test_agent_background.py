"""Work that a task leaves to threads, pools and `atexit`: done before its process ends, or cut off and named."""

import signal
from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import Attempt, Proxy

SOURCE = """
import atexit, queue, tempfile, threading
from concurrent.futures import ThreadPoolExecutor

folder = tempfile.TemporaryDirectory()

def write(path, text, seconds=0.3):
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(text + "\\n")

class Telemetry:
    def __init__(self, path):
        self.path, self.queue = path, queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()
        atexit.register(self.queue.join)

    def work(self):
        while True:
            write(self.path, self.queue.get(), 0.1)
            self.queue.task_done()

def telemetry(path):
    client = Telemetry(path)
    for number in range(3):
        client.queue.put(f"event-{number}")

def pool(path):
    executor = ThreadPoolExecutor(2)
    for number in range(3):
        executor.submit(write, path, f"mail-{number}")

def thread(path):
    threading.Thread(target=write, args=(path, "uploaded")).start()

@task(id="leaves")
def leaves(how: str, path: str, fails: bool = False):
    globals()[how](path)
    if fails:
        raise ValueError("after all")

@task(id="endless")
def endless(seconds: float = 60):
    from trigger_sdk.run import background
    background.NOTICE_SECONDS = seconds
    threading.Thread(target=time.sleep, args=(3600,), name="poller").start()
    return "the output"

@task(id="hanging")
def hanging(path: str):
    from trigger_sdk.agent.child import interrupts
    interrupts.MARGIN_SECONDS = 119  # of the 120 that the tests give
    atexit.register(write, path, "the others", 0)
    atexit.register(time.sleep, 3600)
    return "the output"

@task(id="dying")
def dying(fails: bool):
    atexit.register(os._exit, 7)
    if fails:
        raise ValueError("the task's own")
    return "the output"

@task(id="failing")
def failing(path: str):
    atexit.register(write, path, "the others", 0)
    atexit.register(lambda: {}["missing"])
    atexit.register(sys.exit, "not even this")

@task(id="waits")
def waits(path: str):
    atexit.register(write, path, "flushed", 0)
    pool = ThreadPoolExecutor(2)
    pool.submit(print, "idle from here on").result()
    print("ready")
    time.sleep(3600)

@task(id="buffers")
def buffers(path: str):
    import logging, logging.handlers
    handler = logging.handlers.MemoryHandler(1000, target=logging.FileHandler(path))
    logging.getLogger("shop").addHandler(handler)
    logging.getLogger("shop").warning("low on tea")

@task(id="processes")
def processes():
    import multiprocessing
    context = multiprocessing.get_context("fork")
    pool, manager = context.Pool(2), context.Manager()
    shared = manager.dict()
    shared["sum"] = sum(pool.map(abs, [-1, -2]))
    globals()["left"] = pool, manager
    return shared["sum"]

@task(id="kept", warm_start="same_process")
def kept(path: str, has_thread: bool = False):
    atexit.register(write, path, "flushed", 0)
    if has_thread:
        thread(path)
    return os.getpid()

@task(id="looks")
def looks():
    return os.path.isdir(folder.name)
"""


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("telemetry", ["event-0", "event-1", "event-2"]),
        ("pool", ["mail-0", "mail-1", "mail-2"]),
        ("thread", ["uploaded"]),
    ],
)
@pytest.mark.parametrize("fails", ["true", "false"])
def test_what_a_task_left_to_the_background_is_done_first(
    proxy: Proxy, tmp_path: Path, how: str, lines: list[str], fails: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    written = tmp_path / "written"

    attempt = proxy.run("leaves", f'{{"how":"{how}","path":"{written}","fails":{fails}}}'.encode(), folder=tmp_path)
    attempt.end()

    assert attempt.of("failed" if fails == "true" else "completed")
    assert sorted(written.read_text().split()) == lines


def test_outcome_is_reported_before_work_that_does_not_end_and_what_is_cut_off_is_named(
    proxy: Proxy, tmp_path: Path
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    attempt = proxy.run("endless", folder=tmp_path)
    assert attempt.wait("completed").body == b'"the output"'

    proxy.stop(attempt, "timed_out", 120)
    exited = attempt.end()

    assert exited.header["exit_code"] == 0
    assert attempt.of("failed") == []
    (line,) = attempt.lines("system")
    assert line == "Cut off with the end of the run: the thread poller. Wait for this work in the task."


def test_a_run_that_waits_for_its_threads_says_so(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("endless", b'{"seconds": 0.01}', folder=tmp_path)

    attempt.wait_line("The task has returned; its process still waits for the thread poller.")
    proxy.stop(attempt, "canceled", 0)
    assert attempt.end().header["signal"] == signal.SIGKILL
    assert attempt.of("completed")


def test_atexit_function_that_hangs_is_cut_off_and_the_others_run(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    attempt = proxy.run("hanging", f'{{"path":"{tmp_path}/written"}}'.encode(), folder=tmp_path)
    assert attempt.wait("completed").body == b'"the output"'

    proxy.stop(attempt, "timed_out", 120)
    exited = attempt.end()

    assert exited.header["exit_code"] == 0
    assert attempt.lines("system") == ["Cut off with the end of the run: the atexit function sleep."]
    assert (tmp_path / "written").read_text() == "the others\n"


@pytest.mark.parametrize(("fails", "outcome"), [("false", "completed"), ("true", "failed")])
def test_process_that_dies_in_its_clean_up_has_reported_its_outcome(
    proxy: Proxy, tmp_path: Path, fails: str, outcome: str
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("dying", f'{{"fails":{fails}}}'.encode(), folder=tmp_path)

    assert attempt.end().header["exit_code"] == 7
    assert [frame.type for frame in attempt.of("completed", "failed")] == [outcome]


def test_atexit_function_that_fails_is_in_the_log_and_changes_nothing(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("failing", f'{{"path":"{tmp_path}/written"}}'.encode(), folder=tmp_path)
    attempt.end()

    assert attempt.of("completed")
    exit_line, lambda_line = attempt.lines("system")
    assert "SystemExit: not even this" in exit_line
    assert "failing.<locals>.<lambda> failed" in lambda_line
    assert "KeyError: 'missing'" in lambda_line
    assert (tmp_path / "written").read_text() == "the others\n"


def test_log_records_that_a_handler_holds_back_are_written(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    proxy.run("buffers", f'{{"path":"{tmp_path}/written"}}'.encode(), folder=tmp_path).end()

    assert (tmp_path / "written").read_text() == "low on tea\n"


def test_pools_and_managers_of_processes_that_are_left_open_do_not_hold_the_run_up(
    proxy: Proxy, tmp_path: Path
) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    attempt = proxy.run("processes", folder=tmp_path)

    assert attempt.end().header["exit_code"] == 0
    assert attempt.wait("completed").body == b"3"
    assert attempt.lines("system") == []


@pytest.mark.parametrize("reason", ["canceled", "timed_out", "interrupted"])
def test_stopped_run_flushes_in_the_time_that_it_has(proxy: Proxy, tmp_path: Path, reason: str) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    attempt = proxy.run("waits", f'{{"path":"{tmp_path}/written"}}'.encode(), folder=tmp_path)
    attempt.wait_line("ready")

    proxy.stop(attempt, reason, 120)
    exited = attempt.end()

    assert attempt.wait("failed").header["stop_reason"] == reason
    assert exited.header["exit_code"] == 0
    assert (tmp_path / "written").read_text() == "flushed\n"
    assert attempt.lines("system") == [], "threads of a pool that have nothing to do are not cut off"


def kept_runs(proxy: Proxy, tmp_path: Path, count: int) -> Attempt:
    payload = f'{{"path":"{tmp_path}/written"}}'.encode()
    attempt = proxy.run("kept", payload, folder=tmp_path, is_kept=True)
    attempt.wait("idle")
    for _ in range(count - 1):
        attempt = proxy.resume(attempt, payload, folder=tmp_path)
        attempt.wait("idle")
    return attempt


def test_process_of_several_runs_flushes_once_when_it_is_told_to_end(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    attempt = kept_runs(proxy, tmp_path, 3)
    assert not (tmp_path / "written").exists()

    proxy.stop(attempt, "retired", 120)

    assert attempt.end().header["exit_code"] == 0
    assert (tmp_path / "written").read_text() == "flushed\n" * 3, "once for each time it was registered"


def test_process_of_several_runs_flushes_when_its_connection_ends(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    attempt = kept_runs(proxy, tmp_path, 1)

    assert attempt.peer is not None
    attempt.peer.connection.shutdown(2)

    assert attempt.end().header["exit_code"] == 0
    assert (tmp_path / "written").read_text() == "flushed\n"


def test_run_of_a_kept_process_that_leaves_a_thread_waits_for_it(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))
    payload = f'{{"path":"{tmp_path}/written","has_thread":true}}'.encode()

    attempt = proxy.run("kept", payload, folder=tmp_path, is_kept=True)
    attempt.end()

    assert attempt.of("completed")
    assert attempt.of("idle") == []
    assert (tmp_path / "written").read_text() == "uploaded\nflushed\n"


def test_what_was_made_at_import_outlives_a_run(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", SOURCE))

    outputs = []
    for _ in range(2):
        attempt = proxy.run("looks", folder=tmp_path)
        attempt.end()
        outputs.append(attempt.of("completed")[0].body)

    assert outputs == [b"true", b"true"]
