"""Runs an attempt in a forked process with a folder of its own, and learns from it what happened, as it happens.

The parent's side. `child.py` has the other one; they talk through a pipe that ends with the process.
"""

import contextlib
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import warnings
from typing import Any

from trigger_sdk.tasks import Task
from trigger_sdk.testing import child, mocks, raised
from trigger_sdk.testing.attempt import Crash
from trigger_sdk.testing.results import AttemptCrashed, Result
from trigger_sdk.values import codec


def attempt_forked(task: Task, payload: bytes, result: Result, crash: Crash | None) -> bool:
    """Runs the attempt to the end of its process; returns whether it crashed as asked."""
    __tracebackhide__ = True  # pytest shows the task next to the test
    if not hasattr(os, "fork"):
        raise RuntimeError(f"{sys.platform} cannot fork a process for each attempt: pass in_process=True")
    seen = mocks.Seen()
    outcome = _Outcome(result, seen)
    reading, writing = os.pipe()
    folder = tempfile.mkdtemp(prefix="trigger-run-")
    try:
        pid = _fork()
        if pid == 0:
            os.close(reading)
            child.work(task, payload, result, crash, seen, folder=folder, pipe=writing)
        os.close(writing)
        status = _follow(pid, reading, outcome)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if outcome.has_crashed:
        return True
    if outcome.error is not None:
        raise outcome.error
    if outcome.output is None:
        raise _death(status)
    result.output = codec.decode(outcome.output)
    return False


def _fork() -> int:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError, AttributeError):  # closed or absent: there is nothing to flush
            stream.flush()  # otherwise both processes would write what is buffered
    with warnings.catch_warnings():
        # Test runners have threads of their own; the child uses nothing of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _follow(pid: int, reading: int, outcome: "_Outcome") -> int | None:
    """Takes in what the child reports until it has ended; returns its wait status. Kills it if this is interrupted."""
    has_ended = False
    try:
        with open(reading, "rb") as reports:
            while True:
                try:
                    kind, value = pickle.load(reports)  # noqa: S301 - from our own child
                except (EOFError, pickle.UnpicklingError):
                    break  # it has ended, perhaps in the middle of a report
                outcome.take(kind, value)
        has_ended = True
    finally:
        if not has_ended:
            os.kill(pid, signal.SIGKILL)
        status = _wait(pid)
    return status


def _wait(pid: int) -> int | None:
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:  # the test's process ignores SIGCHLD, so the kernel has already forgotten the child
        return None


class _Outcome:
    def __init__(self, result: Result, seen: mocks.Seen) -> None:
        self.output: bytes | None = None
        self.error: BaseException | None = None
        self.has_crashed = False
        self._result = result
        self._seen = seen

    def take(self, kind: str, value: Any) -> None:
        match kind:
            case "stored":
                self._result.stored.append(value)
            case "log":
                self._result.logs.append(value)
            case "stdout" | "stderr":
                getattr(sys, kind).write(value)
            case "record":
                logger = logging.getLogger(value.name)
                if logger.isEnabledFor(value.levelno):
                    logger.handle(value)
            case "calls":
                self._seen.add(value)
            case "crashed":
                self.has_crashed = True
            case "failed":
                self.error = raised.unpack(value)
            case "completed":
                self.output = value


def _death(status: int | None) -> AttemptCrashed:
    code = None if status is None else os.waitstatus_to_exitcode(status)
    if code is None or code >= 0:
        how = "ended" if code is None else f"exited with code {code}"
        return AttemptCrashed(f"the attempt's process {how} without a result", exit_code=code, signal=None)
    message = f"the attempt's process was killed by {signal.Signals(-code).name}"
    if sys.platform == "darwin" and -code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGTRAP):
        message += ": on macOS some system libraries do not work after a fork; pass in_process=True"
    return AttemptCrashed(message, exit_code=None, signal=-code)
