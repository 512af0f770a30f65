"""Runs a few processes as one: prefixes their output, notices when one dies, stops them in order, leaves no orphan.

It knows nothing of what they are; `run.py` says which, and when they count as healthy. One thread, because children
are forked here.
"""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from trigger_site.development.processes import die_with_parent

KEPT_LINES = 20
POLL_SECONDS = 0.1
COLOURS = (36, 33, 35, 32, 34)  # ANSI foreground codes
LONGEST_LINE_BYTES = 64 * 1024


class StopRequestedError(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""


class ChildDiedError(Exception):
    """A process that should keep running has ended."""

    def __init__(self, child: "Child") -> None:
        code = child.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last_lines = "\n".join(child.last_lines)
        super().__init__(f"{child.name} {how}." + (f" Its last lines:\n{last_lines}" if last_lines else ""))


@dataclass
class Child:
    """One process: `seconds_to_stop` after SIGTERM it is killed; `is_one_shot` means it may end by itself."""

    name: str
    process: subprocess.Popen[bytes]
    seconds_to_stop: float
    is_one_shot: bool
    colour: int
    unfinished_line: bytes = b""
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None


class Supervisor:
    def __init__(self) -> None:
        self.children: list[Child] = []
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False

    def catch_signals(self) -> None:
        """Makes the first SIGINT, SIGTERM or SIGHUP raise `StopRequestedError`; a second one kills."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        seconds_to_stop: float = 3.0,
        is_one_shot: bool = False,
    ) -> Child:
        """Starts a process in its own group, so that Ctrl-C on the terminal reaches only us."""
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        child = Child(name, process, seconds_to_stop, is_one_shot, COLOURS[len(self.children) % len(COLOURS)])
        self.children.append(child)
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, child)
        return child

    def run_until(self, is_done: Callable[[], bool], *, seconds: float | None = None) -> bool:
        """Passes output on until the condition holds (True) or the time is up (False).

        Raises `ChildDiedError` if a process ends that should not, `StopRequestedError` on a signal.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not is_done():
            if deadline is not None and time.monotonic() > deadline:
                return False
            self._pass_output_on(POLL_SECONDS)
            for child in self.children:
                if child.is_running and self._has_ended(child) and not child.is_one_shot:
                    raise ChildDiedError(child)
        return True

    def stop(self) -> None:
        """Stops the children one by one, last started first; kills those that do not stop in time."""
        self._is_stopping = True
        for child in reversed(self.children):
            self._stop_child(child)
        for child in self.children:
            self._close(child)
        self._selector.close()

    def _stop_child(self, child: Child) -> None:
        if not child.is_running:
            return
        child.process.terminate()
        deadline = time.monotonic() + child.seconds_to_stop
        while child.is_running and not self._has_ended(child) and time.monotonic() < deadline:
            self._pass_output_on(POLL_SECONDS)
        _kill_group(child)
        child.process.wait()
        self._read(child)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            raise StopRequestedError
        for child in self.children:
            if child.is_running:
                _kill_group(child)

    def _has_ended(self, child: Child) -> bool:
        if child.process.poll() is None:
            return False
        self._read(child)
        _kill_group(child)
        return True

    def _pass_output_on(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            self._read(key.data)

    def _read(self, child: Child) -> None:
        """Prints the complete lines a child has written, and at the end of its output an unfinished one."""
        pipe: Any = child.process.stdout
        while not pipe.closed:
            try:
                data = os.read(pipe.fileno(), LONGEST_LINE_BYTES)
            except BlockingIOError:
                return
            *lines, child.unfinished_line = (child.unfinished_line + data).split(b"\n")
            if not data or len(child.unfinished_line) > LONGEST_LINE_BYTES:
                lines.append(child.unfinished_line)
                child.unfinished_line = b""
            for line in lines:
                self._print_line(child, line.decode(errors="replace").rstrip())
            if not data:
                self._close(child)

    def _close(self, child: Child) -> None:
        """Stops listening to a child; a process it started in another session may still hold the other end."""
        pipe = child.process.stdout
        if pipe is not None and not pipe.closed:
            self._selector.unregister(pipe)
            pipe.close()

    def _print_line(self, child: Child, text: str) -> None:
        if not text:
            return
        child.last_lines.append(text)
        label = f"{child.name:<11} |"
        if sys.stdout.isatty():
            label = f"\x1b[{child.colour}m{label}\x1b[0m"
        try:
            print(f"{label} {text}", flush=True)  # noqa: T201 - it is read on the terminal
        except BrokenPipeError:  # nobody reads any more, so nobody wants us to continue
            if not self._is_stopping:
                raise StopRequestedError from None


def _kill_group(child: Child) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        os.killpg(child.process.pid, signal.SIGKILL)
