"""Starts the process of a run: a fork of the agent if that is safe, else a fresh interpreter.

Owns the pipes between agent and child; what a child does once it exists is in `child/process.py`.
"""

import json
import os
import signal
import sys
from collections.abc import Collection
from dataclasses import asdict

from trigger_sdk.agent.child.process import SETUP_DESCRIPTOR, Setup
from trigger_sdk.agent.child.reuse import ReadCount
from trigger_sdk.agent.reports.output import LineSplitter, LogCap
from trigger_sdk.agent.system.processes import IS_LINUX

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class InChild(BaseException):
    """Unwinds the agent's frames in the forked child, so that task code finds none of the agent's objects there."""

    def __init__(self, setup: Setup, orders: int, outputs: tuple[int, int], reads: ReadCount | None) -> None:
        super().__init__()
        self.reads = reads
        self.setup = setup
        self.orders = orders
        self.outputs = outputs


class Child:
    """A run's process as the agent sees it."""

    def __init__(
        self, setup: Setup, pid: int, kind: str, orders: int, outputs: dict[int, str], reads: ReadCount | None
    ) -> None:
        self.reads = reads
        self.ticket = setup.ticket
        self.pid = pid
        self.kind = kind
        self.orders = orders
        self.outputs = {descriptor: (source, LineSplitter()) for descriptor, source in outputs.items()}
        self.open_outputs = set(outputs)
        self.cap = LogCap()
        self.kill_at: float | None = None
        self.is_killed = False

    def ask_to_stop(self, reason: str, grace_seconds: float) -> None:
        """Sends the reason and the time until the kill, then the signal, so that the signal handler finds them."""
        try:
            os.write(self.orders, f"{reason} {grace_seconds:.3f}\n".encode())
            os.kill(self.pid, signal.SIGTERM)
        except (BrokenPipeError, ProcessLookupError):
            return  # it has ended by itself in the meantime

    def kill(self) -> None:
        """Kills the child. It is not reaped yet, so its process id cannot be another's."""
        self.is_killed = True
        self.kill_at = None
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        for descriptor in (self.orders, *self.outputs):
            os.close(descriptor)
        self.outputs.clear()
        if self.reads is not None:
            self.reads.close()


def start_child(setup: Setup, *, is_fork: bool) -> Child:
    """The new child; raises OSError if the system refuses one, and InChild in the forked child itself."""
    ends = [os.pipe() for _ in range(3)]
    (out, out_write), (err, err_write), (orders_read, orders) = ends
    reads = ReadCount() if setup.is_kept and is_fork else None
    try:
        start = _fork if is_fork else _spawn
        pid = start(setup, orders_read, (out_write, err_write), reads)
    except InChild:
        for descriptor in (out, err, orders):
            os.close(descriptor)
        raise
    except OSError:
        for descriptor in (out, out_write, err, err_write, orders_read, orders):
            os.close(descriptor)
        raise
    for descriptor in (out_write, err_write, orders_read):
        os.close(descriptor)
    for descriptor in (out, err):
        os.set_blocking(descriptor, False)
    if not is_fork:
        os.write(orders, json.dumps(asdict(setup)).encode() + b"\n")
    return Child(setup, pid, "fork" if is_fork else "spawn", orders, {out: "stdout", err: "stderr"}, reads)


def enter_child(orders: int, outputs: tuple[int, int]) -> None:
    """In the forked child: sends output to the pipes and resets signals (SIGTERM stays blocked for `run`)."""
    for descriptor, target in zip(outputs, (1, 2), strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGCHLD))


def open_sockets() -> set[str]:
    """The sockets of this process, by inode; empty if the system does not tell."""
    if not IS_LINUX:
        return set()
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def fork_refusal(known_sockets: Collection[str]) -> str | None:
    """Why a fork after the import would be unsafe; None if it is safe."""
    if not IS_LINUX:
        return f"forking is unsafe on {sys.platform}"
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"the task code started {threads - 1} threads on import"
    opened = len(open_sockets() - set(known_sockets))
    if opened:
        return f"the task code opened {opened} sockets on import"
    return None


def _fork(setup: Setup, orders: int, outputs: tuple[int, int], reads: ReadCount | None) -> int:
    # A stop arriving between the fork and the child's own handler would run the agent's handler in the child.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        raise
    if pid == 0:
        raise InChild(setup, orders, outputs, reads)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _spawn(_: Setup, orders: int, outputs: tuple[int, int], __: ReadCount | None) -> int:
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-m", "trigger_sdk.agent", "child"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, outputs[0], 1),
            (os.POSIX_SPAWN_DUP2, outputs[1], 2),
            (os.POSIX_SPAWN_DUP2, orders, SETUP_DESCRIPTOR),
        ],
        setsigmask=[signal.SIGTERM],
        setsigdef=_HANDLED,
    )
