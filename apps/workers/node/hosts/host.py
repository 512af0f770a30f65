"""Serves one agent on a socket that only it can reach: the sidecar proxy's side of the wire.

The socket's path identifies the agent; a ticket binds a child's connection to its attempt. Attempt tokens and the
coordinator's credential never cross this socket.
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trigger_sdk.wire import PROTOCOL_VERSION, SOCKET_NAME, Frame, WireError

from apps.workers.node.hosts.connection import Connection
from apps.workers.node.hosts.ends import ProcessEnd, memory_of, process_end
from apps.workers.node.hosts.roles import ChildConnection, ControlConnection, RunListener
from apps.workers.node.hosts.strangers import Strangers

PING_SECONDS = 10.0
AGENT_SILENCE_SECONDS = 45.0
RETIRE_GRACE_SECONDS = 5.0
LAST_FRAMES_SECONDS = 5.0
"""How long an ended run's socket is drained; a process that escaped may keep it open."""


logger = logging.getLogger(__name__)


class HostError(Exception):
    """The agent could not be started or is gone; the text gives the reason for the run's page."""


class Host:
    """One agent: its socket directory, its control connection and the runs in it."""

    def __init__(self, socket_dir: Path, *, isolation: str, variables: dict[str, str] | None = None) -> None:
        self.socket_dir = socket_dir
        self.name = ""
        self.can_fork = True
        self._isolation = isolation
        self._variables = variables or {}
        self._secret = ""
        self._control: ControlConnection | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runs: dict[str, RunListener] = {}
        self._children: dict[str, ChildConnection] = {}
        self._settling: dict[str, ProcessEnd] = {}
        """Runs that ended in a kept process whose last output the agent has yet to pass on."""
        self._idle: dict[str, ChildConnection] = {}
        """Kept processes between two runs, by the ticket they connected with."""
        self._strangers = Strangers()
        self._stops: dict[str, dict[str, Any]] = {}
        """Requests to the agent that may not have reached it, by the run's ticket."""
        self._server: asyncio.Server | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._heard_at = 0.0
        self.on_gone: Callable[[str], None] | None = None

    @property
    def is_alive(self) -> bool:
        return self._control is not None

    @property
    def run_count(self) -> int:
        return len(self._runs)

    async def listen(self) -> None:
        """Opens the socket; the agent may be started now."""
        loop = asyncio.get_running_loop()
        path = self.socket_dir / SOCKET_NAME
        self._server = await loop.create_unix_server(lambda: Connection(self), path=str(path))
        path.chmod(0o666)  # only the directory controls access
        self._pinging = asyncio.create_task(self._ping(), name="ping")

    async def wait_ready(self, seconds: float) -> None:
        """Waits until the agent has loaded the tasks; raises HostError with its reason if it does not."""
        try:
            await asyncio.wait_for(asyncio.shield(self._ready), seconds)
        except TimeoutError:
            raise HostError(f"The agent did not become ready within {seconds:g} s.") from None

    def close(self) -> None:
        """Closes the socket and every connection; a living agent kills its children and exits."""
        if self._server is not None:
            self._server.close()
        if self._pinging is not None:
            self._pinging.cancel()
        for connection in (self._control, *self._children.values(), *self._idle.values(), *self._strangers):
            if connection is not None:
                connection.close()
        self.fail("The worker closed it.")

    def run(self, run_id: str, folder: str | None, listener: RunListener, *, is_kept: bool = False) -> str:
        """Asks the agent for a process for this run; returns the ticket that the process will show.

        A kept process may stay for `resume` after the run has completed: `ended` reports it.
        """
        if self._control is None:
            raise HostError("The agent is gone.")
        ticket = secrets.token_hex(32)
        self._runs[ticket] = listener
        self._control.send("run", ticket=ticket, run_id=run_id, folder=folder, is_kept=is_kept)
        return ticket

    def has_idle(self, ticket: str) -> bool:
        return ticket in self._idle

    def resume(self, ticket: str, listener: RunListener) -> None:
        """Binds the kept process with that ticket to another run; raises HostError if it is gone."""
        child = self._idle.pop(ticket, None)
        if child is None:
            raise HostError("The kept process is gone.")
        self._runs[ticket], self._children[ticket] = listener, child
        child.bind(listener)
        listener.connected(child)

    def retire(self, ticket: str) -> None:
        """Ends a kept process that no run uses."""
        child = self._idle.pop(ticket, None)
        if child is None:
            return
        child.close()
        if self._control is not None:
            self._control.send("stop", ticket=ticket, reason="retired", grace_seconds=RETIRE_GRACE_SECONDS)

    def stop(self, ticket: str, reason: str, grace_seconds: float) -> None:
        """Ends a run's process: SIGTERM with the reason, SIGKILL after the grace period."""
        if ticket not in self._runs:
            return
        self._stops[ticket] = {"reason": reason, "grace_seconds": grace_seconds}
        if self._control is not None:
            self._control.send("stop", ticket=ticket, **self._stops[ticket])

    def lose_agent(self) -> None:
        """Handles the loss of the agent's connection. An executor that can find out why does so before `fail`."""
        self.fail("The agent's process is gone.")

    def fail(self, reason: str, end: ProcessEnd | None = None) -> None:
        """Ends the runs of an agent that is gone (as `end` says) and fails a start that waits for it."""
        self._control = None
        if not self._ready.done():
            self._ready.set_exception(HostError(reason))
            self._ready.exception()  # a waiter gets it; there may be none
        runs, self._runs = self._runs, {}
        self._stops.clear()
        self._settling.clear()
        for child in self._idle.values():
            child.close()
        self._idle.clear()
        for ticket, listener in runs.items():
            self._drop_child(ticket)
            listener.ended(end or ProcessEnd(note=reason))
        if self.on_gone is not None:
            callback, self.on_gone = self.on_gone, None
            callback(reason)

    # Calls from connections.

    def came(self, connection: Connection) -> bool:
        """Returns False if there are too many unidentified connections."""
        return self._strangers.admit(connection, expected_count=len(self._runs) - len(self._children))

    def refuse(self, reason: str) -> None:
        """Logs why a connection was ended."""
        self._strangers.tell_refusal(self.name, reason)

    def knows(self, connection: Connection) -> None:
        """Notes that a connection has identified itself, or is gone."""
        self._strangers.forget(connection)

    def welcome(self, connection: Connection, frame: Frame) -> ControlConnection:
        """Accepts the agent's control connection; raises WireError for a second one or a wrong secret."""
        if self._control is not None:
            raise WireError("a second control connection")
        major = str(frame.header.get("protocol", "")).split(".")[0]
        if major != PROTOCOL_VERSION.split(".")[0]:
            self.fail(f"The agent speaks protocol {frame.header.get('protocol')!r}, the worker {PROTOCOL_VERSION}.")
            raise WireError("unknown protocol version")
        given = str(frame.header.get("secret") or "")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._secret.encode()):
            raise WireError("a wrong secret")
        self._secret = self._secret or secrets.token_hex(32)
        self._control = ControlConnection(self, connection)
        self._control.send("welcome", secret=self._secret, isolation=self._isolation, variables=self._variables)
        for ticket, stop in self._stops.items():
            self._control.send("stop", ticket=ticket, **stop)
        return self._control

    def bind(self, connection: Connection, frame: Frame) -> ChildConnection:
        """Binds a child's connection to the run named by its ticket; a ticket is valid once."""
        ticket = str(frame.header.get("ticket"))
        listener = self._runs.get(ticket)
        if listener is None or ticket in self._children:
            raise WireError("an unknown or used ticket")
        child = ChildConnection(self, ticket, connection, listener)
        self._children[ticket] = child
        listener.connected(child)
        return child

    def heard(self, frame: Frame) -> None:
        """Handles a frame on the control connection."""
        self._heard_at = asyncio.get_running_loop().time()
        header = frame.header
        if frame.type == "ready":
            self.can_fork = bool(header.get("can_fork"))
            if not self._ready.done():
                self._ready.set_result(None)
        elif frame.type == "load_failed":
            error = header.get("error") or {}
            self.fail(f"The tasks could not be loaded: {error.get('type')}: {error.get('message')}")
        elif frame.type in {"started", "log", "exited", "settled"}:
            self._heard_of_run(frame, str(header.get("ticket")))

    def rests(self, child: ChildConnection, header: dict[str, Any]) -> None:
        """Notes that a kept process has reported its run's outcome and is free for the next."""
        ticket = child.ticket
        if self._children.get(ticket) is not child or ticket in self._settling:
            self._suspect(child, "spoke between two runs")
            return
        if ticket in self._stops:  # too late to change the outcome; its process ends anyway
            child.close()
            return
        end = ProcessEnd(peak_memory_bytes=memory_of(header), is_kept=True)
        if header.get("has_raw_output") and self._control is not None:
            self._settling[ticket] = end
            self._control.send("settle", ticket=ticket)
        else:
            self._rest(ticket, end)

    def spoke_idle(self, child: ChildConnection) -> None:
        """Ends a kept process that sent something belonging to no run."""
        self._suspect(child, "spoke between two runs")

    def lost(self, child: ChildConnection) -> None:
        """Handles the loss of a child's connection; between two runs it can take no more."""
        if self._idle.get(child.ticket) is child:
            self.retire(child.ticket)

    def _suspect(self, child: ChildConnection, what: str) -> None:
        logger.warning("worker.end_kept_process host=%s: it %s", self.name, what)
        self.retire(child.ticket)
        child.close()

    def _rest(self, ticket: str, end: ProcessEnd) -> None:
        if self._children[ticket].is_lost:
            return  # it is about to exit, and the agent will say how
        listener, child = self._runs.pop(ticket), self._children.pop(ticket)
        self._idle[ticket] = child
        child.bind(None)
        listener.ended(end)

    def _heard_of_run(self, frame: Frame, ticket: str) -> None:
        listener = self._runs.get(ticket)
        if listener is None:
            return
        header = frame.header
        if frame.type == "started":
            listener.started(int(header["pid"]), str(header["kind"]))
        elif frame.type == "log":
            listener.output(header)
        elif frame.type == "settled":
            if (end := self._settling.pop(ticket, None)) is not None:
                self._rest(ticket, end)
        else:
            child = self._children.get(ticket)
            if child is None or child.is_closed:
                self._end_run(ticket, process_end(header))
            else:
                # Frames that the child sent before it died may still be in its socket: they are read first.
                ending = self._end_after(child, ticket, process_end(header))
                asyncio.create_task(ending, name="end-run")  # noqa: RUF006

    async def _end_after(self, child: ChildConnection, ticket: str, end: ProcessEnd) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait_closed(), LAST_FRAMES_SECONDS)
        self._end_run(ticket, end)

    def _end_run(self, ticket: str, end: ProcessEnd) -> None:
        self._drop_child(ticket)
        self._settling.pop(ticket, None)
        self._stops.pop(ticket, None)
        listener = self._runs.pop(ticket, None)
        if listener is not None:
            listener.ended(end)

    def _drop_child(self, ticket: str) -> None:
        child = self._children.pop(ticket, None)
        if child is not None:
            child.close()

    async def _ping(self) -> None:
        loop = asyncio.get_running_loop()
        self._heard_at = loop.time()
        while True:
            await asyncio.sleep(PING_SECONDS)
            if self._control is not None:
                self._control.send("ping")
                # Loading tasks blocks the agent; `wait_ready` decides how long that may take.
                if self._ready.done() and loop.time() - self._heard_at > AGENT_SILENCE_SECONDS:
                    self._control.abort()
