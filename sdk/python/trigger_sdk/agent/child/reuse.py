"""Removes what a run leaves in its process before the next run, and decides whether the process may take one at all.

Module state stays on purpose: that is what `warm_start="same_process"` is for. `system/surroundings.py`, `runtime.py`
and `interrupts.py` set up the next run's own folder, output and stop reason.
"""

import _signal  # type: ignore[import-not-found]  # `signal`'s own wrappers take ten times as long
import _thread
import contextlib
import fcntl
import mmap
import os
import resource
import signal
import struct
import sys
import termios
import threading
import time

from trigger_sdk.agent.system import cleanup, processes
from trigger_sdk.run import off_loop

_COUNT = struct.Struct("=Q")
_INT = struct.Struct("i")
_CATCHABLE = tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_RESET_PEAK = b"5"
"""For /proc/self/clear_refs: resets the kernel's peak of resident memory (proc(5))."""


class ReadCount:
    """How often the agent has read from a child's pipes, in memory that both share.

    An empty pipe and an unchanged count mean that nothing was written; neither process can tell that alone.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def add(self) -> None:
        """Counts a read before it happens: if the child finds the pipe empty, it finds the count raised too."""
        _COUNT.pack_into(self._memory, 0, self.value + 1)

    @property
    def value(self) -> int:
        return int(_COUNT.unpack_from(self._memory)[0])

    def close(self) -> None:
        self._memory.close()


class Baseline:
    """The state of the process before its first run; `restore` brings it back after each run."""

    def __init__(self, reads: ReadCount | None, *, is_container: bool) -> None:
        self._is_container = is_container
        self._reads = reads
        self._read_count = 0
        self._outputs = tuple(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3) for number in (1, 2))
        self._environment = _environment()
        self._umask = _umask()
        self._handlers = [(number, _signal.getsignal(number)) for number in _CATCHABLE]
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._thread_count = _thread_count()
        self._children = frozenset(processes.children())
        self._is_peak_known = True
        if reads is not None:
            self._read_count = reads.value

    def begin_again(self) -> None:
        """Called right before another run, in its folder: from here on, peak memory and output belong to that run."""
        self._environment = _environment()
        self._is_peak_known = _reset_peak()
        if self._reads is not None:
            self._read_count = self._reads.value

    def has_strays(self) -> bool:
        """Whether the run has left processes behind."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return bool(set(processes.children()) - self._children)

    def refusal(self) -> str | None:
        """Why the process may not take another run; None if it may. Ends the processes that the run left behind."""
        count = _thread_count() - self._thread_count
        if count > 0:
            count -= off_loop.thread_count()
        if count > 0:
            left = [thread for thread in threading.enumerate() if not off_loop.is_own(thread)]
            names = ", ".join(thread.name for thread in left[-count:])
            return f"the task left {count} thread{'s' if count > 1 else ''} running ({names})"
        if self.has_strays():
            deadline = time.monotonic() + cleanup.END_SECONDS
            if remaining := processes.end_children_except(self._children, deadline=deadline):
                return f"processes {remaining} of the run could not be killed"
        return self._restore()

    def has_raw_output(self) -> bool:
        """Whether this run may have written other than by `print`, so that the agent may still have lines from it."""
        _flush()
        if self._reads is None:
            return True
        return any(_unread_bytes(output) for output in self._outputs) or self._reads.value != self._read_count

    def peak_memory_bytes(self) -> int | None:
        """The run's peak resident memory; None if the kernel cannot tell it from an earlier run's."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if self._is_peak_known else None

    def _restore(self) -> str | None:
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._handlers:
            if _signal.getsignal(number) != handler:
                _signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        os.umask(self._umask)
        if _environment() != self._environment:
            os.environ.clear()
            os.environ.update((os.fsdecode(name), os.fsdecode(value)) for name, value in self._environment.items())
        for output, target in zip(self._outputs, (1, 2), strict=True):
            try:
                os.dup2(output, target)
            except OSError as error:
                return f"the task closed its process's output: {error}"
        failed = cleanup.wipe_folders() if self._is_container else []
        return f"not removed after the run: {', '.join(failed[:20])}" if failed else None


def _environment() -> dict[bytes, bytes]:
    """The environment as the system has it: decoding each entry would cost more than the rest of the comparison."""
    return dict(os.environ._data)  # type: ignore[attr-defined]  # noqa: SLF001


def _thread_count() -> int:
    """All threads that Python code has started; `threading` knows only its own."""
    return _thread._count()  # noqa: SLF001


def _flush() -> None:
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or taken away by the task
            stream.flush()  # type: ignore[union-attr]
    processes.flush_native_output()


def _umask() -> int:
    present = os.umask(0o077)
    os.umask(present)
    return present


def _reset_peak() -> bool:
    with contextlib.suppress(OSError):
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            return os.write(file, _RESET_PEAK) == len(_RESET_PEAK)
        finally:
            os.close(file)
    return False


def _unread_bytes(pipe: int) -> int:
    return int(_INT.unpack(fcntl.ioctl(pipe, termios.FIONREAD, bytes(_INT.size)))[0])
