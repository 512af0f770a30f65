"""Time limits for synchronous code: an alarm of the process raises in the main thread when one is over.

It ends Python code and blocking calls of the system, not a C extension that never looks at signals.
"""

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

R = TypeVar("R")

HELD_RETRY_SECONDS = 0.01
"""How soon the alarm comes again where raising would have done harm."""


class TimeLimitReached(Exception):
    """The call took longer than it may."""


class NotInMainThread(Exception):
    """Signals are delivered to the main thread, so nothing can end the code of another one."""


class _Deadline:
    def __init__(self, at: float) -> None:
        self.at = at


class _Expired(BaseException):
    """Raised by the alarm inside the code that took too long, past every `except Exception` of it."""

    def __init__(self, deadline: _Deadline) -> None:
        super().__init__("a time limit is over")
        self.deadline = deadline


_running: list[_Deadline] = []
"""The limits that the main thread is under, outermost first."""


def call_within(seconds: float, function: Callable[[], R], *, may_interrupt: Callable[[], bool]) -> R:
    """The result of the call; TimeLimitReached if it takes longer. NotInMainThread elsewhere.

    Calls nest, and the outermost limit that is over wins. `may_interrupt` says whether this is a moment to raise at.
    Until it returns the process's SIGALRM is in use: an alarm that the caller had set comes then.
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

    # One frame, no context manager: an alarm between its lines would leave the limit standing.
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
        # It may have been raised in the `finally` above.
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
    # A timer of zero seconds is none.
    signal.setitimer(signal.ITIMER_REAL, 0 if first is None else max(first - time.monotonic(), 1e-6))


def _end(deadline: _Deadline) -> None:
    if deadline in _running:
        _running.remove(deadline)
    _arm()
