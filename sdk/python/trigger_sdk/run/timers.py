"""Timers that send a signal to this process: one of the kernel's own on Linux, elsewhere the process's alarm.

The kernel's timer has a signal that no library uses, so code that sets alarms itself (`signal.alarm`, `setitimer`,
decorators made from them) keeps them, and cannot switch a limit off.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

Handler = Callable[[int, FrameType | None], Any]

_CLOCK_MONOTONIC = 1  # from <linux/time.h>
_SIGEV_SIGNAL = 0  # from <asm-generic/siginfo.h>
_SIGEV_BYTES = 64


class Timer(Protocol):
    """Calls `handler` in the main thread; between `begin` and `end` the signal belongs to it."""

    def begin(self, handler: Handler) -> None: ...
    def end(self) -> None: ...
    def set(self, seconds: float | None) -> None:
        """Sets the time until the next signal; None for no signal."""


class Alarm:
    """`ITIMER_REAL`. An alarm that the caller had set comes after `end`; code in between may take the alarm over."""

    def begin(self, handler: Handler) -> None:
        self._begun_at = time.monotonic()
        self._theirs = signal.getitimer(signal.ITIMER_REAL)
        self._previous = signal.signal(signal.SIGALRM, handler)

    def end(self) -> None:
        self.set(None)
        signal.signal(signal.SIGALRM, self._previous)
        left, interval = self._theirs
        if left:
            signal.setitimer(signal.ITIMER_REAL, _positive(left - (time.monotonic() - self._begun_at)), interval)

    def set(self, seconds: float | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0 if seconds is None else _positive(seconds))


class _Event(ctypes.Structure):
    """`struct sigevent`."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * (_SIGEV_BYTES - ctypes.sizeof(ctypes.c_void_p) - 2 * ctypes.sizeof(ctypes.c_int))),
    )


class _Setting(ctypes.Structure):
    """`struct itimerspec`: interval, then value, each as seconds and nanoseconds."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("interval", "interval_nanoseconds", "value", "nanoseconds"))


class KernelTimer:
    """A POSIX timer (timer_create(2)). Raises OSError if the system has none left."""

    number = signal.SIGRTMAX - 3 if sys.platform == "linux" else 0

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(None, use_errno=True)
            self._settime = self._library.timer_settime
        except AttributeError:  # glibc before 2.34
            self._library = ctypes.CDLL("librt.so.1", use_errno=True)
            self._settime = self._library.timer_settime
        self._process = 0
        self._timer = ctypes.c_void_p()
        self._create()

    def _create(self) -> None:
        event = _Event(number=self.number, notify=_SIGEV_SIGNAL)
        if self._library.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timer_create: {os.strerror(number)}")
        self._process = os.getpid()

    def begin(self, handler: Handler) -> None:
        # It stays in place afterwards: a signal that is still on its way would end the process without it.
        signal.signal(self.number, handler)

    def end(self) -> None:
        self.set(None)

    def set(self, seconds: float | None) -> None:
        if self._process != os.getpid():  # a forked process does not have its parent's timers
            if seconds is None:
                return
            self._create()
        setting = _Setting()
        if seconds is not None:
            whole, part = divmod(_positive(seconds), 1)
            setting.value, setting.nanoseconds = int(whole), max(int(part * 1e9), int(whole == 0))
        if self._settime(self._timer, 0, ctypes.byref(setting), None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timer_settime: {os.strerror(number)}")


def best_timer() -> Timer:
    if sys.platform != "linux":
        return Alarm()
    try:
        return KernelTimer()
    except (OSError, AttributeError):  # a sandbox without them, or no timers left
        return Alarm()


def _positive(seconds: float) -> float:
    # Zero would turn the timer off.
    return max(seconds, 1e-6)
