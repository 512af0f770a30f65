"""Time limits for synchronous code: the process's alarm raises in the main thread when a limit is reached.

It ends Python code and blocking system calls, but not a C extension that never checks signals.
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

R = TypeVar("R")

HELD_RETRY_SECONDS = 0.01
"""How soon the alarm comes again if raising would have done harm."""


class TimeLimitReached(Exception):
    """The call took longer than allowed."""


class NotInMainThread(Exception):
    """Signals are delivered to the main thread, so nothing can end the code of another thread."""


class _Deadline:
    def __init__(self, at: float) -> None:
        self.at = at


class _Expired(BaseException):
    """Raised by the alarm inside the code that took too long; `except Exception` does not catch it."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__("a time limit was reached")
        self.deadline = deadline


_running: list[_Deadline] = []
"""The limits that the main thread is under, outermost first."""


def call_within(seconds: float, function: Callable[[], R], *, may_interrupt: Callable[[], bool]) -> R:
    """The result of the call; TimeLimitReached if it takes longer, NotInMainThread in another thread.

    Calls nest, and the outermost limit that was reached wins. `may_interrupt` says whether raising is safe now.
    Until it returns, SIGALRM is in use: an alarm that the caller had set is delivered after that.
    """
    if threading.current_thread() is not threading.main_thread():
        raise NotInMainThread

    def on_alarm(number: int, frame: FrameType | None) -> None:
        if not may_interrupt():
            signal.setitimer(signal.ITIMER_REAL, HELD_RETRY_SECONDS)
            return
        now = time.monotonic()
        over = next((deadline for deadline in _running if deadline.at <= now), None)
        if over is not None:
            raise _Expired(over)
        _arm()

    # One frame, no context manager: an alarm between its lines would leave the limit in place.
    started = time.monotonic()
    deadline = _Deadline(started + seconds)
    theirs, interval = (0.0, 0.0) if _running else signal.getitimer(signal.ITIMER_REAL)
    previous = signal.signal(signal.SIGALRM, on_alarm)
    try:
        try:
            _running.append(deadline)
            _arm()
            return function()
        finally:
            _end(deadline)
    except _Expired as expired:
        # The alarm may have been raised in the `finally` above.
        _end(deadline)
        if expired.deadline is not deadline:
            raise
    finally:
        signal.signal(signal.SIGALRM, previous)
        if theirs:
            signal.setitimer(signal.ITIMER_REAL, max(theirs - (time.monotonic() - started), 1e-6), interval)
    raise TimeLimitReached


def _arm() -> None:
    first = min((deadline.at for deadline in _running), default=None)
    # Zero seconds would turn the timer off.
    signal.setitimer(signal.ITIMER_REAL, 0 if first is None else max(first - time.monotonic(), 1e-6))


def _end(deadline: _Deadline) -> None:
    if deadline in _running:
        _running.remove(deadline)
    _arm()
