"""Delivers the platform's stop of a run, as an exception in the task's main thread or in its main asyncio task.

The agent first writes the reason into a pipe and then sends SIGTERM, so the handler knows what to raise. A SIGTERM
without a reason comes from somebody else and has its usual effect.
"""

import os
import signal
import threading
from collections.abc import Coroutine
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from trigger_sdk.errors import RunCanceled, RunInterrupted, RunStopped, RunTimedOut

if TYPE_CHECKING:  # importing asyncio takes longer than starting a child, and most tasks do without
    from trigger_sdk.agent.child.main_coroutine import MainCoroutine

T = TypeVar("T")

EXIT_STALE = 72
"""The exit code of a child that learned that its attempt is no longer the valid one."""

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
        self.reason: str | None = None

    def install(self) -> None:
        os.set_blocking(self._orders, False)
        signal.signal(signal.SIGTERM, self._on_signal)

    def finish(self) -> None:
        """Ignores stops from here on: the outcome is being reported."""
        self._is_over = True

    def rest(self) -> None:
        """Begins the time between two runs of a kept process: a stop ends it, even one that came during the report."""
        self._is_idle = True
        if self._is_dismissed:
            os._exit(0)

    def resume(self) -> None:
        """Begins the next run of a kept process."""
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
        if self._is_due and not self._holds:
            self._is_due = False
            self._deliver()

    def main_coroutine(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Wraps the coroutine of an async task's main asyncio task, so that a stop is raised where it awaits."""
        from trigger_sdk.agent.child.main_coroutine import MainCoroutine

        self._main = MainCoroutine(coroutine)
        return self._main

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_idle:
            os._exit(0)
        if self._is_over or self.reason is not None:
            self._is_dismissed = True
            return
        reason = self._read_reason()
        if reason is None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if reason not in _EXCEPTIONS:
            os._exit(EXIT_STALE)
        self.reason = reason
        if self._holds:
            self._is_due = True
        else:
            self._deliver()

    def _read_reason(self) -> str | None:
        try:
            return os.read(self._orders, 64).decode("ascii").strip() or None
        except BlockingIOError:
            return None

    def _deliver(self) -> None:
        if self._main is not None and self._main.is_suspended:
            self._main.stop(self.exception())
        else:
            raise self.exception()
