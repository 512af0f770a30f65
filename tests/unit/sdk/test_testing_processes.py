"""`testing.run` gives each attempt a process and a folder of its own: what is lost there, and what comes back."""

import atexit
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal, getcontext
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import checkpoint, current_run, log, step, task
from trigger_sdk.errors import CheckpointMisplaced
from trigger_sdk.testing import AttemptCrashed, forked, run

cache: dict[str, int] = {}
here = os.getcwd()


@task("cached")
def cached() -> list[Any]:
    cache["rows"] = 3
    getcontext().prec = 6
    Path("rows.txt").write_text("3 rows")
    os.environ["ROWS"] = "3"
    checkpoint("fetched")
    return [cache.get("rows"), str(Decimal(1) / 7), Path("rows.txt").exists(), os.environ.get("ROWS")]


def test_globals_files_and_settings_of_the_process_are_lost_in_a_crash() -> None:
    whole = run(cached)
    resumed = run(cached, crash_after="fetched")

    assert whole.output == [3, "0.142857", True, "3"]
    assert resumed.output == [None, "0.1428571428571428571428571429", False, None]
    assert (cache, os.getcwd(), "ROWS" in os.environ) == ({}, here, False)


def test_attempts_in_the_tests_own_process_share_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROWS", "")
    monkeypatch.setattr(getcontext(), "prec", 28)
    monkeypatch.setitem(cache, "rows", 0)

    assert run(cached, crash_after="fetched", in_process=True).output == [3, "0.142857", True, "3"]


def test_folder_of_an_attempt_is_new_home_and_place_of_temporary_files_and_removed_afterwards() -> None:
    @task("placed")
    def placed() -> list[str]:
        import tempfile

        return [os.getcwd(), os.environ["HOME"], tempfile.gettempdir(), *os.listdir(".")]

    first, second = run(placed).output, run(placed).output

    assert first == [first[0]] * 3
    assert second == [second[0]] * 3
    assert first[0] not in (second[0], here)
    assert not Path(first[0]).exists()


def test_crash_runs_no_handlers_and_no_finally(tmp_path: Path) -> None:
    @task("tidy")
    def tidy(path: str) -> None:
        atexit.register(_append, path, "atexit")
        try:
            checkpoint("one")
        finally:
            _append(path, "finally")

    run(tidy, {"path": str(tmp_path / "said")}, crash_after="one")

    assert (tmp_path / "said").read_text().split() == ["finally"], "of the second attempt, which does not register"


def test_process_that_is_killed_can_be_continued() -> None:
    @task("killed")
    def killed() -> str:
        number = 7
        checkpoint("one", number=number)
        run_now = current_run()
        if run_now is not None and run_now.attempt_number == 1:
            log.warning("about to die")
            os.kill(os.getpid(), signal.SIGKILL)
        return f"survived with {number}"

    with pytest.raises(AttemptCrashed, match="killed by SIGKILL") as crash:
        run(killed)

    assert (crash.value.signal, crash.value.exit_code) == (signal.SIGKILL, None)
    assert [line.message for line in crash.value.trigger_result.logs] == ["about to die"]  # type: ignore[attr-defined]
    assert run(killed, resume=crash.value).output == "survived with 7"


def test_task_that_ends_its_process_has_crashed() -> None:
    @task("leaves")
    def leaves() -> None:
        os._exit(3)

    with pytest.raises(AttemptCrashed, match="exited with code 3 without a result") as crash:
        run(leaves)

    assert (crash.value.signal, crash.value.exit_code) == (None, 3)


def test_print_and_logging_arrive_in_the_test(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    @task("talks")
    def talks() -> None:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        logging.getLogger("shop").warning("low on %s", threading.Lock(), extra={"lock": threading.Lock()})
        logging.getLogger("shop").debug("nobody wants this")
        try:
            raise ValueError("broken")
        except ValueError:
            logging.getLogger("shop").exception("failed")

    with caplog.at_level(logging.INFO):
        run(talks)

    assert capsys.readouterr() == ("to stdout\n", "to stderr\n")
    first, second = caplog.records
    assert (first.name, first.levelname) == ("shop", "WARNING")
    assert first.getMessage().startswith("low on <unlocked")
    assert "ValueError: broken" in second.getMessage()


def test_what_is_printed_at_the_first_line_is_not_printed_by_both_processes() -> None:
    source = """
import sys, tasks
from trigger_sdk.testing import run
sys.stdout.write("before ")
run(tasks.talks)
sys.stdout.write("after")
"""

    assert _in_project(
        source, "from trigger_sdk import task\n@task('talks')\ndef talks(): print('task', end=' ')\n"
    ) == ("before task after")


def test_work_in_threads_pools_and_atexit_is_done_before_run_returns(tmp_path: Path) -> None:
    @task("leaves-work")
    def leaves_work(path: str) -> str:
        atexit.register(_append, path, "atexit")
        ThreadPoolExecutor(1).submit(_append, path, "pool")
        threading.Thread(target=_append, args=(path, "thread")).start()
        return "done"

    assert run(leaves_work, {"path": str(tmp_path / "said")}).output == "done"
    assert sorted((tmp_path / "said").read_text().split()) == ["atexit", "pool", "thread"]


def test_what_the_test_runner_does_at_its_end_is_not_done_by_attempts(tmp_path: Path) -> None:
    source = f"""
import atexit, tasks, tempfile
from trigger_sdk.testing import run
atexit.register(lambda: open({str(tmp_path / "said")!r}, "a").write("x"))
kept = tempfile.TemporaryDirectory()
run(tasks.nothing)
import os; assert os.path.isdir(kept.name)
"""

    _in_project(source, "from trigger_sdk import task\n@task('nothing')\ndef nothing(): pass\n")

    assert (tmp_path / "said").read_text() == "x"


def test_process_forked_by_the_task_may_not_save_and_does_not_hold_the_test_up() -> None:
    @task("forks")
    def forks() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                step("in-the-child", int)
            except CheckpointMisplaced:
                print("refused")
                os._exit(5)
            finally:
                os._exit(1)
        subprocess.Popen(["sleep", "60"])
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert run(forks).output == 5


def test_limit_of_a_step_never_cuts_a_report_in_two() -> None:
    @task("limited")
    def limited() -> list[int]:
        return [step(f"talk-{number}", _talk_until_stopped, timeout=0.02) for number in range(3)]

    def attempt() -> None:
        run(limited)

    with pytest.raises(TimeoutError, match="took longer than"):
        attempt()


def test_threads_of_earlier_runs_in_the_tests_process_do_not_hang_a_fork() -> None:
    @task("saves")
    async def saves() -> int:
        number = 1
        await checkpoint("k", number=number)
        return number

    assert run(saves, in_process=True).output == 1
    assert run(saves).output == 1


def test_run_that_is_interrupted_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    @task("sleeps")
    def sleeps() -> None:
        log.info(str(os.getpid()))
        time.sleep(60)

    class Interrupted(forked._Outcome):
        def take(self, kind: str, value: Any) -> None:
            super().take(kind, value)
            raise KeyboardInterrupt

    monkeypatch.setattr(forked, "_Outcome", Interrupted)

    with pytest.raises(KeyboardInterrupt) as interrupt:
        run(sleeps)

    (line,) = interrupt.value.trigger_result.logs  # type: ignore[attr-defined]
    with pytest.raises(ProcessLookupError):
        os.kill(int(line.message), 0)


def test_system_without_fork_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")

    with pytest.raises(RuntimeError, match="cannot fork a process for each attempt: pass in_process=True"):
        run(cached)


def _append(path: str, word: str) -> None:
    with open(path, "a") as file:
        file.write(word + "\n")


def _talk_until_stopped() -> int:
    while True:
        log.info("x" * 5000)


def _in_project(source: str, tasks: str) -> str:
    """What the program prints, run next to a module `tasks`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text(tasks)
        Path(folder, "main.py").write_text(source)
        return subprocess.run([sys.executable, f"{folder}/main.py"], capture_output=True, text=True, check=True).stdout
