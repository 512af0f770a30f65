"""The process of one attempt in a test: works in its own folder, reports to the test's process, and never returns."""

import atexit
import io
import logging
import os
import pickle
import sys
import tempfile
import threading
import traceback
import weakref
from typing import Any, NoReturn

from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.background import Background, keep_to_this_process
from trigger_sdk.run.deadlines import raise_held_back
from trigger_sdk.tasks import Task
from trigger_sdk.testing import mocks, raised
from trigger_sdk.testing.attempt import Crash, Runtime
from trigger_sdk.testing.results import LogLine, Result

BACKGROUND_SECONDS = 60.0
"""How long threads and `atexit` functions may take after the task; in production, what is left of `max_duration`."""


def work(
    task: Task, payload: bytes, result: Result, crash: Crash | None, seen: mocks.Seen, *, folder: str, pipe: int
) -> NoReturn:
    reports = _Reports(pipe)
    try:
        _settle(folder, reports)
        _attempt(task, payload, result, crash, seen, reports)
    except BaseException:  # nothing may return into the test's own frames
        os.write(2, traceback.format_exc().encode())
        os._exit(1)
    _flush()
    os._exit(0)


def _attempt(
    task: Task, payload: bytes, result: Result, crash: Crash | None, seen: mocks.Seen, reports: "_Reports"
) -> None:
    def die(_: str) -> NoReturn:
        reports.send("calls", seen.changes())
        reports.send("crashed", None)
        os._exit(0)

    runtime = Runtime(
        result,
        crash,
        save=lambda entry: reports.send("stored", entry),
        log=lambda line: reports.log(line),
        die=die,
        may_interrupt=lambda: not reports.is_sending,
    )
    outcome: tuple[str, Any]
    try:
        outcome = "completed", run_task(task, payload, list(result.stored), runtime)
    except BaseException as error:  # the test's process decides what to do with it
        outcome = "failed", raised.pack(error)
    reports.send(*outcome)
    ending = Background(lambda message: runtime.log("warning", message, {}), may_interrupt=runtime.may_interrupt)
    ending.see_through(BACKGROUND_SECONDS)
    reports.send("calls", seen.changes())


class _Reports:
    """Sends what happens through the pipe, from any thread; a process that the task forks sends nothing."""

    def __init__(self, pipe: int) -> None:
        self.is_sending = False
        """While true, an exception in the main thread would leave half a report in the pipe."""
        self._pipe = pipe
        self._lock = threading.RLock()
        self._main_thread = threading.get_ident()
        self.process = os.getpid()
        # The pipe ends with the attempt, whatever the task has started.
        os.register_at_fork(after_in_child=lambda: os.close(pipe))

    def send(self, kind: str, value: Any) -> None:
        data = memoryview(pickle.dumps((kind, value)))
        is_main = threading.get_ident() == self._main_thread
        self.is_sending = self.is_sending or is_main
        try:
            with self._lock:
                while data:
                    data = data[os.write(self._pipe, data) :]
        finally:
            self.is_sending = self.is_sending and not is_main
        if is_main:
            raise_held_back()

    def log(self, line: LogLine) -> None:
        if os.getpid() == self.process:
            self.send("log", line)
        else:
            sys.stderr.write(f"{line.level} {line.message}\n")


class _Stream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr`: the test's process writes it to its own, which its runner may have replaced."""

    def __init__(self, name: str, descriptor: int, reports: _Reports) -> None:
        self._name = name
        self._descriptor = descriptor
        self._reports = reports
        self.buffer = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long as the process

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        if os.getpid() == self._reports.process:
            self._reports.send(self._name, text)
        else:
            self.buffer.write(text.encode("utf-8", "backslashreplace"))
        return len(text)


class _Records(logging.Handler):
    """Passes records on to the same logger in the test's process, where its handlers and `caplog` are."""

    def __init__(self, reports: _Reports) -> None:
        super().__init__()
        self._reports = reports

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)  # arguments and tracebacks need not be picklable
        except Exception:  # a wrong format string must not fail the task; logging reports it on stderr
            self.handleError(record)
            return
        if os.getpid() != self._reports.process:
            sys.stderr.write(f"{message}\n")
            return
        record.msg, record.args, record.exc_info, record.exc_text, record.stack_info = message, None, None, None, None
        try:
            self._reports.send("record", record)
        except (pickle.PicklingError, TypeError, AttributeError):  # `extra` may hold anything
            plain = {name: value for name, value in vars(record).items() if isinstance(value, (str, int, float))}
            self._reports.send("record", logging.makeLogRecord(plain))


def _settle(folder: str, reports: _Reports) -> None:
    # Relative entries would follow the process into its new folder.
    sys.path[:] = [os.path.abspath(entry) for entry in sys.path]
    os.chdir(folder)
    os.environ["HOME"] = os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
    # What the test runner wants to do at its end is not this process's to do.
    atexit._clear()  # noqa: SLF001 - no public way
    keep_to_this_process()
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]  # noqa: SLF001
    sys.stdout, sys.stderr = _Stream("stdout", 1, reports), _Stream("stderr", 2, reports)
    logging.getLogger().handlers[:] = [_Records(reports)]


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None and not stream.closed:
            stream.flush()
