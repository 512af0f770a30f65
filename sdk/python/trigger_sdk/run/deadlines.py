"""Time limits for synchronous code: a timer's signal raises in the main thread when a limit is reached.

It ends Python code and blocking system calls, but not a C extension that never checks signals: then the limit is
noticed when the call returns.
"""

import math
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:  # loading ctypes takes as long as a fifth of this package, and few runs have a limit
    from trigger_sdk.run.timers import Timer

R = TypeVar("R")

HELD_RETRY_SECONDS = 0.01
"""How soon the signal comes again if raising would have done harm."""


class TimeLimitReached(Exception):
    """The call took longer than allowed."""


class NotInMainThread(Exception):
    """Signals are delivered to the main thread, so nothing can end the code of another thread."""


class Deadline:
    """The time limit of one call, in seconds from its creation.

    With `again_seconds` it is raised again that often, for code that passes over what is raised in it.
    """

    def __init__(self, seconds: float, *, again_seconds: float = math.inf) -> None:
        self.at = self._due_at = time.monotonic() + seconds
        self.again_seconds = again_seconds
        self.has_fired = False

    @property
    def is_reached(self) -> bool:
        return self.has_fired or self.at <= time.monotonic()

    @property
    def due_at(self) -> float:
        """When the signal must come next."""
        return self._due_at

    def fire(self, now: float) -> None:
        """Raises in the code that took too long."""
        self.has_fired = True
        self._due_at = now + self.again_seconds
        raise _Expired(self)

    def give_way(self) -> None:
        """Fires no more: an outer limit ends the call."""
        self._due_at = math.inf

    def move(self, seconds: float) -> None:
        """Lets the limit be reached that many seconds from now, if that is earlier. Call it in the main thread."""
        self.at = min(self.at, time.monotonic() + seconds)
        if not self.has_fired:
            self._due_at = self.at
        if self in _running:
            _arm()


class _Expired(BaseException):
    """Raised inside the code that took too long; `except Exception` does not catch it."""

    def __init__(self, deadline: Deadline) -> None:
        super().__init__("a time limit was reached")
        self.deadline = deadline


def is_expiry(error: BaseException | None) -> bool:
    """Whether the error is a time limit on its way out of the call."""
    return isinstance(error, _Expired)


_running: list[Deadline] = []
"""The limits that the main thread is under, outermost first."""
_timer: "Timer | None" = None
_is_timing = False
"""Whether the timer's signal is ours at the moment. A call whose limit is far away never needs it."""
_is_held_back = False
_may_interrupt: Callable[[], bool] = bool
"""Whether raising is safe now; outside all calls it is not."""


def call_within(limit: "float | Deadline", function: Callable[[], R], *, may_interrupt: Callable[[], bool]) -> R:
    """The result of the call; TimeLimitReached if it takes longer than the seconds, NotInMainThread in another thread.

    Calls nest, and the outermost limit that was reached wins. The outermost call's `may_interrupt` says whether raising
    is safe now.
    """
    global _may_interrupt
    if threading.current_thread() is not threading.main_thread():
        raise NotInMainThread
    # One frame, no context manager: a signal between its lines would leave the limit in place.
    deadline = limit if isinstance(limit, Deadline) else Deadline(limit)
    is_outermost = not _running
    if is_outermost:
        _may_interrupt = may_interrupt
    try:
        try:
            _running.append(deadline)
            _arm()
            result = function()
            is_late = deadline.is_reached
        finally:
            _end(deadline)
    except _Expired as expired:
        # The signal may have come in the `finally` above.
        _end(deadline)
        if expired.deadline is not deadline:
            raise
        is_late = True
    finally:
        if is_outermost:
            _release_timer()
    if is_late:
        raise TimeLimitReached
    return result


def raise_held_back() -> None:
    """Raises a limit that was reached while raising would have done harm. For the main thread, when that time is over.

    Waiting for the next signal is not enough: code that does little else than what is protected would never be ended.
    """
    if _is_held_back and _running:
        _fire_due()


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _is_held_back
    if not _may_interrupt():
        _is_held_back = True
        _set_timer(HELD_RETRY_SECONDS if _running else None)
        return
    _fire_due()


def _fire_due() -> None:
    global _is_held_back
    _is_held_back = False
    now = time.monotonic()
    over = next((place for place, deadline in enumerate(_running) if deadline.due_at <= now), None)
    try:
        if over is not None:
            for inner in _running[over + 1 :]:
                inner.give_way()
            _running[over].fire(now)
    finally:
        _arm()


def _arm() -> None:
    armed = None
    # A signal handler may move a deadline, and arm, between the two calls here.
    while armed != (first := min((deadline.due_at for deadline in _running), default=math.inf)):
        armed = first
        _set_timer(None if math.isinf(first) else first - time.monotonic())


def _end(deadline: Deadline) -> None:
    if deadline in _running:
        _running.remove(deadline)
    _arm()


def _set_timer(seconds: float | None) -> None:
    global _timer, _is_timing
    if _is_timing and _timer is not None:
        _timer.set(seconds)
    elif seconds is not None:
        if _timer is None:
            from trigger_sdk.run.timers import best_timer

            _timer = best_timer()
        _timer.begin(_on_signal)
        _is_timing = True
        _timer.set(seconds)


def _release_timer() -> None:
    global _is_timing
    if _is_timing and _timer is not None:
        _timer.end()
        _is_timing = False
