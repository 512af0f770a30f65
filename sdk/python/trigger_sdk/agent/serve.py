"""The agent's loop: one thread that loads the task folder once and does what its worker says.

It decides nothing about runs, and ends them all when the worker is gone. `runs.py` owns the processes.
"""

import gc
import os
import selectors
import signal
import sys
import time
from typing import Any, NoReturn

from trigger_sdk.agent.child.process import Setup, run
from trigger_sdk.agent.control import Control
from trigger_sdk.agent.launch import InChild, enter_child, fork_refusal, open_sockets
from trigger_sdk.agent.loader import load_tasks
from trigger_sdk.agent.reports.failures import describe
from trigger_sdk.agent.runs import Runs
from trigger_sdk.agent.system import processes
from trigger_sdk.wire import SOCKET_NAME, Frame

PING_SECONDS = 10.0
SILENCE_SECONDS = 45.0
"""A worker that is silent for this long counts as dead, even if its connection is open."""
RECONNECT_SECONDS = 3.0
RETRY_SECONDS = 0.1
FAREWELL_SECONDS = 1.0
"""How long sending the last frames may take before the agent ends anyway."""
REAP_SECONDS = 1.0
"""How often children are checked without a signal, in case task code has taken over SIGCHLD."""

EXIT_NOT_LOADED = 1
EXIT_LOST_WORKER = 3


def serve(directory: str, folder: str) -> NoReturn:
    """Runs until the worker is gone or SIGTERM arrives; the exit code says which."""
    agent = Agent(os.path.join(directory, SOCKET_NAME), folder)
    try:
        sys.exit(agent.run())
    except InChild as started:
        setup, orders, outputs, reads = started.setup, started.orders, started.outputs, started.reads
    agent.forget()
    del agent
    enter_child(orders, outputs)
    run(setup, orders, reads, is_loaded=True)


class Agent:
    def __init__(self, path: str, folder: str) -> None:
        self.folder = folder
        self._selector = selectors.DefaultSelector()
        self._wakeup = os.pipe()
        self.control = Control(path)
        self.runs = Runs(self.control, self._selector)
        self._is_container = False
        self._ready: dict[str, Any] | None = None
        self._fork_refusal: str | None = None
        self._exit_code: int | None = None
        now = time.monotonic()
        self._heard_at = self._pinged_at = self._reap_at = now
        self._give_up_at: float | None = now + SILENCE_SECONDS
        self._retry_at = now

    def run(self) -> int:
        self._settle()
        while self._exit_code is None:
            for key, events in self._selector.select(self._timeout()):
                key.data(key.fd, events)
            now = time.monotonic()
            self.runs.kill_overdue(now)
            # After all events, because it closes pipes that later events of the same batch may refer to.
            if now >= self._reap_at:
                self._reap_at = now + REAP_SECONDS
                self.runs.reap_ended()
            self._keep_connected(now)
        self.runs.end_all()
        self.control.flush_for(FAREWELL_SECONDS)
        return self._exit_code

    def forget(self) -> None:
        """In a forked child: closes the agent's own descriptors and forgets its secret."""
        self._selector.close()
        for descriptor in self._wakeup:
            os.close(descriptor)
        self.runs.forget()
        self.control.forget()

    def _settle(self) -> None:
        processes.set_dumpable(is_dumpable=False)
        processes.give_up_tracing()
        processes.adopt_orphans()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        for descriptor in self._wakeup:
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the worker too, which decides
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        self._selector.register(self._wakeup[0], selectors.EVENT_READ, self._on_signal)
        self._keep_connected(time.monotonic())

    # The worker's frames

    def _on_control(self, _: int, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.control.flush()
        if events & selectors.EVENT_READ:
            frames = self.control.receive()
            if frames is None:
                self._lose_control()
                return
            self._heard_at = time.monotonic()
            for frame in frames:
                self._answer(frame)

    def _answer(self, frame: Frame) -> None:
        header = frame.header
        match frame.type:
            case "welcome":
                self._on_welcome(header)
            case "run":
                self._start(header)
            case "stop":
                self.runs.stop(header["ticket"], header["reason"], header["grace_seconds"])
            case "settle":
                self.runs.settle(header["ticket"])

    def _on_welcome(self, header: dict[str, Any]) -> None:
        self.control.welcome(header["secret"])
        self._give_up_at = None
        if self._ready is not None:
            self.control.send("ready", **self._ready)
            self.runs.announce()
            return
        self._is_container = header["isolation"] == "container"
        # Without its own process table, "everything else" would be the whole machine.
        self.runs.owns_container = self._is_container and os.getpid() == 1
        os.environ.update(header["variables"])
        self._load()

    def _load(self) -> None:
        started = time.monotonic()
        sockets = open_sockets()
        try:
            tasks = load_tasks(self.folder)
        except (Exception, SystemExit) as error:  # task code may raise anything on import
            self.control.send("load_failed", error=describe(error))
            self._exit_code = EXIT_NOT_LOADED
            return
        self._fork_refusal = fork_refusal(sockets)
        self.runs.kept = frozenset(processes.children())
        gc.collect()
        gc.freeze()  # otherwise a collection in a child would copy every page it looks at
        self._ready = {
            "tasks": tasks,
            "can_fork": self._fork_refusal is None,
            "fork_refusal": self._fork_refusal,
            "load_seconds": round(time.monotonic() - started, 6),
        }
        self._heard_at = time.monotonic()  # nobody was listening while the code was loading
        self.control.send("ready", **self._ready)

    def _start(self, header: dict[str, Any]) -> None:
        setup = Setup(
            socket_path=self.control.path,
            tasks=self.folder,
            ticket=header["ticket"],
            folder=header["folder"],
            is_container=self._is_container,
            agent=os.getpid(),
            is_kept=bool(header.get("is_kept")) and processes.IS_LINUX,
        )
        self.runs.start(setup, is_fork=self._fork_refusal is None)

    # Signals and time

    def _on_signal(self, descriptor: int, _: int) -> None:
        numbers = os.read(descriptor, 4096)
        if signal.SIGTERM in numbers and self._exit_code is None:
            self._exit_code = 0
        if signal.SIGCHLD in numbers:
            self._reap_at = 0.0

    def _keep_connected(self, now: float) -> None:
        """Reconnects if the connection is lost, pings if it is open, and gives up when the time is up."""
        if self.control.socket is None and now >= self._retry_at:
            self._retry_at = now + RETRY_SECONDS
            connection = self.control.connect()
            if connection is not None:
                self._heard_at = now
                self._selector.register(connection, selectors.EVENT_READ, self._on_control)
        if self.control.is_welcome and now - self._pinged_at >= PING_SECONDS:
            self._pinged_at = now
            self.control.send("ping")
        self.control.flush()
        if self.control.socket is not None:
            has_unsent = self.control.is_welcome and self.control.has_unsent
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if has_unsent else 0)
            self._selector.modify(self.control.socket, events, self._on_control)
        self.runs.pause_output(is_paused=self.control.is_crowded)
        is_silent = self.control.socket is not None and now - self._heard_at > SILENCE_SECONDS
        if is_silent or (self._give_up_at is not None and now >= self._give_up_at):
            self._exit_code = EXIT_LOST_WORKER if self._exit_code is None else self._exit_code

    def _lose_control(self) -> None:
        assert self.control.socket is not None
        self._selector.unregister(self.control.socket)
        if self._give_up_at is None:
            self._give_up_at = time.monotonic() + RECONNECT_SECONDS
        self.control.lose()
        self._retry_at = time.monotonic()

    def _timeout(self) -> float:
        now = time.monotonic()
        due = [self._retry_at if self.control.socket is None else self._heard_at + SILENCE_SECONDS]
        if self.control.is_welcome:
            due.append(self._pinged_at + PING_SECONDS)
        if self.runs.is_busy:
            due.append(self._reap_at)
        due += [moment for moment in (self._give_up_at, self.runs.next_kill()) if moment is not None]
        return max(0.0, min(due) - now)
