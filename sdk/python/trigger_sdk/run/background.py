"""Finishes what a task left to threads and to the end of the process, as telemetry clients and pools do.

The process of a run skips the interpreter's own shutdown, so its work is done here, by the same rules: first the
non-daemon threads and the pools, then the `atexit` functions, the last one registered first.
"""

import atexit
import contextlib
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from trigger_sdk.run.deadlines import Deadline, TimeLimitReached, call_within, is_expiry

NOTICE_SECONDS = 10.0
"""After this time a log line says what a run that has returned is waiting for."""
AGAIN_SECONDS = 0.5
"""When the time is over, each further `atexit` function gets this long."""
STOPPED_SECONDS = 1.0
"""How long a stopped run waits for threads: idle ones of pools end within it."""
NAMES_SHOWN = 10


def keep_to_this_process() -> None:
    """In a forked process: leaves clean-up of what existed before, such as a temporary folder, to its parent."""
    finalize: Any = sys.modules["weakref"].finalize
    for finalizer in list(finalize._registry):  # noqa: SLF001 - no public list
        finalizer.atexit = False


class Background:
    """Sees the work through; `remark` writes a line into the run's log."""

    def __init__(self, remark: Callable[[str], None], *, may_interrupt: Callable[[], bool]) -> None:
        self._remark = remark
        self._may_interrupt = may_interrupt
        self._limit: Deadline | None = None
        self._left = math.inf
        """When everything must have ended, by the monotonic clock."""
        self._is_joining = False

    def cut(self, seconds: float) -> None:
        """Ends the wait for threads now, and what `atexit` functions do after those seconds. For the main thread."""
        self._left = min(self._left, time.monotonic() + seconds)
        if self._limit is not None:
            self._limit.move(0.0 if self._is_joining else seconds)

    def see_through(self, seconds: float = math.inf, *, is_stopped: bool = False) -> None:
        """Joins non-daemon threads, lets pools finish the work they have accepted, and calls the `atexit` functions.

        What is not done within the time ends with the process, and a log line says so. With `is_stopped` only idle
        threads are waited for.
        """
        self._left = time.monotonic() + seconds
        self._is_joining = True
        if not self._within(min(seconds, STOPPED_SECONDS) if is_stopped else seconds, self._finish_threads):
            self._remark(f"Cut off with the end of the run: {_names()}. Wait for this work in the task.")
        self._is_joining = False
        with self._reported_failures():
            self._within(self._left - time.monotonic(), atexit._run_exitfuncs)  # noqa: SLF001 - otherwise only the interpreter's shutdown calls it

    def _within(self, seconds: float, function: Callable[[], object]) -> bool:
        """Whether the function ended in time. What it raises is said in the log."""
        self._limit = Deadline(seconds, again_seconds=AGAIN_SECONDS)
        try:
            call_within(self._limit, function, may_interrupt=self._may_interrupt)
        except TimeLimitReached:
            return False
        except Exception:
            self._remark(f"Work after the end of the task failed:\n{traceback.format_exc()}")
        finally:
            self._limit = None
        return True

    def _finish_threads(self) -> None:
        if _threads():
            call_within(_Notice(self._say_waiting), _join_all, may_interrupt=self._may_interrupt)
        else:
            _join_all()

    def _say_waiting(self) -> None:
        self._remark(f"The task has returned; its process still waits for {_names()}.")

    @contextlib.contextmanager
    def _reported_failures(self) -> Iterator[None]:
        """The interpreter passes over what an `atexit` function raises, time limits included."""
        before = sys.unraisablehook

        def report(failure: "sys.UnraisableHookArgs") -> None:
            name = _name_in(failure)
            if is_expiry(failure.exc_value):
                self._remark(f"Cut off with the end of the run: the atexit function {name}.")
            elif failure.err_msg and "atexit" in failure.err_msg:
                shown = "".join(traceback.format_exception(failure.exc_value)).strip() if failure.exc_value else ""
                self._remark(f"The atexit function {name} failed:\n{shown}")
            else:
                before(failure)

        sys.unraisablehook = report
        try:
            yield
        finally:
            sys.unraisablehook = before


def _name_in(failure: "sys.UnraisableHookArgs") -> str:
    """The name of the function that failed. From Python 3.13 on it is only in the message."""
    if failure.object is None:
        return (failure.err_msg or "").rpartition("callback ")[2]
    return getattr(failure.object, "__qualname__", None) or repr(failure.object)


class _Notice(Deadline):
    """Says once what is waited for, and ends nothing."""

    def __init__(self, say: Callable[[], None]) -> None:
        super().__init__(NOTICE_SECONDS)
        self._say = say

    @property
    def is_reached(self) -> bool:
        return False

    def fire(self, now: float) -> None:
        self.give_way()
        self._say()


def _join_all() -> None:
    # As `threading._shutdown` does, but without marking the main thread as ended: pools accept nothing more.
    for shut_down in reversed(getattr(threading, "_threading_atexits", [])):
        shut_down()
    while threads := _threads():
        for thread in threads:
            thread.join()


def _threads() -> list[threading.Thread]:
    mine = threading.current_thread()
    return [thread for thread in threading.enumerate() if thread is not mine and not thread.daemon]


def _names() -> str:
    names = [thread.name for thread in _threads()]
    shown = ", ".join(names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN:,} more" if len(names) > NAMES_SHOWN else ""
    return f"the thread{'s' if len(names) > 1 else ''} {shown}{more}"
