"""Delivers the platform's stop of a run, as an exception in the task's main thread or in its main asyncio task.

The agent first writes the reason into a pipe and then sends SIGTERM, so the handler knows what to raise. A SIGTERM
without a reason comes from somebody else and has its usual effect.
"""

import os
import signal
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from trigger_sdk.errors import RunCanceled, RunInterrupted, RunStopped, RunTimedOut
from trigger_sdk.run.background import Background
from trigger_sdk.run.deadlines import raise_held_back

if TYPE_CHECKING:  # importing asyncio takes longer than starting a child, and most tasks do without
    from trigger_sdk.agent.child.main_coroutine import MainCoroutine

T = TypeVar("T")

EXIT_STALE = 72
"""The exit code of a child that learned that its attempt is no longer the valid one."""

MARGIN_SECONDS = 2.0
"""How long before it is killed a stopped process should be done: it still has lines to send."""
LEAST_SECONDS = 0.5

_EXCEPTIONS: dict[str, type[RunStopped]] = {
    "canceled": RunCanceled,
    "timed_out": RunTimedOut,
    "interrupted": RunInterrupted,
}
_MESSAGES = {
    "canceled": "the run was canceled",
    "timed_out": "the attempt reached its max_duration",
    "interrupted": "the worker is stopping; the run continues from its last checkpoint",
}


class Retired(BaseException):
    """A kept process that waits for work is told to end."""


class Interrupts:
    """The stop reason of this process's run, and the moments when raising would do harm."""

    def __init__(self, orders: int) -> None:
        self._orders = orders
        self._main_thread = threading.get_ident()
        self._holds = 0
        self._is_idle = False
        self._is_dismissed = False
        self._begin()

    def _begin(self) -> None:
        self._is_due = False
        self._is_over = False
        self._main: MainCoroutine[Any] | None = None
        self._background: Background | None = None
        self._kill_at = float("inf")
        self.reason: str | None = None

    def install(self) -> None:
        os.set_blocking(self._orders, False)
        signal.signal(signal.SIGTERM, self._on_signal)

    def finish(self) -> None:
        """Ignores stops from here on: the outcome is being reported."""
        self._is_over = True

    @contextmanager
    def ending(self, background: Background) -> Iterator[None]:
        """While it lasts, a stop cuts the work that goes on after the task, even a stop that came during the report."""
        self._background = background
        if self._is_dismissed:
            self._note_reason()
        try:
            yield
        finally:
            self._background = None

    @property
    def seconds_left(self) -> float:
        """How long the process may still work; infinite unless it was stopped."""
        return max(LEAST_SECONDS, self._kill_at - time.monotonic() - MARGIN_SECONDS)

    def rest(self) -> None:
        """Begins the time between two runs of a kept process: a stop raises Retired, even one that came before."""
        self._is_idle = True
        if self._is_dismissed:
            raise Retired

    def resume(self) -> None:
        """Begins the next run of a kept process, or the end of one that is not used again."""
        self._begin()
        self._is_idle = False

    def exception(self) -> RunStopped:
        assert self.reason is not None
        return _EXCEPTIONS[self.reason](_MESSAGES[self.reason])

    def raise_if_stopped(self) -> None:
        if self.reason is not None and not self._is_over:
            raise self.exception()

    @property
    def is_held(self) -> bool:
        """Whether an exception in the main thread would do harm now."""
        return self._holds > 0

    def __enter__(self) -> None:
        """`with interrupts:` holds a stop back: half a frame on the socket would corrupt everything after it."""
        if threading.get_ident() == self._main_thread:
            self._holds += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() != self._main_thread:
            return
        self._holds -= 1
        if self._holds:
            return
        if self._is_due:
            self._is_due = False
            self._deliver()
        raise_held_back()

    def main_coroutine(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Wraps the coroutine of an async task's main asyncio task, so that a stop is raised where it awaits."""
        from trigger_sdk.agent.child.main_coroutine import MainCoroutine

        self._main = MainCoroutine(coroutine)
        return self._main

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_idle:
            self._is_idle = False
            raise Retired
        if self.reason is not None or (self._is_over and self._background is None):
            self._is_dismissed = True
            return
        if not self._note_reason():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._background is not None:
            self._background.cut(self.seconds_left)
        elif self._holds:
            self._is_due = True
        else:
            self._deliver()

    def _note_reason(self) -> bool:
        """Reads why the process is stopped and when it will be killed; ends it if the attempt is not valid any more."""
        try:
            reason, _, grace = os.read(self._orders, 64).decode("ascii").strip().partition(" ")
        except BlockingIOError:
            reason = grace = ""
        if not reason:
            return False
        if reason not in _EXCEPTIONS:
            os._exit(EXIT_STALE)
        self._kill_at = time.monotonic() + float(grace or 0)
        self.reason = reason
        return True

    def _deliver(self) -> None:
        if self._main is not None and self._main.is_suspended:
            self._main.stop(self.exception())
        else:
            raise self.exception()
