"""The roles of connections on a host's socket: the agent's, and that of one run's process."""

import asyncio
from typing import Any, Protocol

from trigger_sdk.wire import Frame, encode_frame

from apps.workers.node.hosts.connection import Connection
from apps.workers.node.hosts.ends import ProcessEnd

IN_FLIGHT_MAX = 32
"""How many frames of one child may wait for an answer before no more are read."""

IN_FLIGHT_MAX_BYTES = 16 * 1024 * 1024
"""The same limit in bytes: a node keeps them until the coordinator has taken them."""


class RunListener(Protocol):
    """Receives a host's events about one run; every method is called on the event loop and returns at once."""

    def connected(self, child: "ChildConnection") -> None: ...
    def frame(self, child: "ChildConnection", frame: Frame) -> None:
        """Raises WireError for a frame that the protocol does not allow: the connection ends, `broke_off` says why."""

    def broke_off(self, reason: str) -> None: ...
    def output(self, header: dict[str, Any]) -> None: ...
    def started(self, pid: int, kind: str) -> None: ...
    def ended(self, end: ProcessEnd) -> None: ...


class AgentListener(Protocol):
    """The host as the agent's connection sees it."""

    def heard(self, frame: Frame) -> None: ...
    def lose_agent(self) -> None: ...


class ChildListener(Protocol):
    """The host as the connection of a run's process sees it."""

    def rests(self, child: "ChildConnection", header: dict[str, Any]) -> None: ...
    def spoke_idle(self, child: "ChildConnection") -> None: ...
    def lost(self, child: "ChildConnection") -> None: ...


class ControlConnection:
    """The agent's connection. The agent is the platform's own; it passes on what all its runs print, within their
    caps."""

    is_metered = False

    def __init__(self, host: AgentListener, connection: Connection) -> None:
        self._host = host
        self._connection = connection

    def send(self, type: str, **header: Any) -> None:  # noqa: A002 - the field's own name
        self._connection.send(encode_frame(type, **header))

    def heard(self, frame: Frame) -> None:
        self._host.heard(frame)

    def broke_off(self, reason: str) -> None:
        """Does nothing: `lost` reports the end."""

    def lost(self, _: Exception | None) -> None:
        self._host.lose_agent()

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        """Closes without waiting for the agent to read the rest: a hung agent never would."""
        if self._connection.transport is not None:
            self._connection.transport.abort()


class ChildConnection:
    """The connection of a run's process, or of one kept between two runs.

    It is not read while too many frames, or too many bytes, wait for an answer.
    """

    is_metered = True

    def __init__(self, host: ChildListener, ticket: str, connection: Connection, listener: RunListener) -> None:
        self.ticket = ticket
        self._host = host
        self._connection = connection
        self._listener: RunListener | None = listener
        self._in_flight = 0
        self._in_flight_bytes = 0
        self.has_left_unread = False
        """The other side ended without having read everything: the kernel signals this by a reset."""
        self._closed = asyncio.Event()

    def send(self, type: str, body: bytes = b"", **header: Any) -> None:  # noqa: A002 - the field's own name
        self._connection.send(encode_frame(type, body, **header))

    def tell(self, frames: list[bytes]) -> None:
        """Sends encoded frames in one piece, so that the other side wakes up only once."""
        self._connection.send(b"".join(frames))

    @property
    def is_closed(self) -> bool:
        """Whether the other side is gone and everything it sent has been read."""
        return self._closed.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether the other side is gone; frames it sent before may still be unread."""
        return self._connection.is_lost

    def bind(self, listener: RunListener | None) -> None:
        """Assigns its frames from here on to that run, or to none."""
        self._listener = listener

    def heard(self, frame: Frame) -> None:
        if frame.type == "idle":
            self._host.rests(self, frame.header)
        elif self._listener is None:
            self._host.spoke_idle(self)
        else:
            self._listener.frame(self, frame)

    def broke_off(self, reason: str) -> None:
        if self._listener is not None:
            self._listener.broke_off(reason)

    def lost(self, error: Exception | None) -> None:
        self.has_left_unread = isinstance(error, ConnectionError)
        self._closed.set()
        self._host.lost(self)

    def close(self) -> None:
        self._connection.close()

    async def wait_read(self) -> None:
        """Waits until the other side has read most of what it was sent, or is gone."""
        await self._connection.wait_read()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def begin_answer(self, size_bytes: int = 0) -> None:
        """Counts a frame of that size as waiting; every call needs an `end_answer` with the same size."""
        self._in_flight += 1
        self._in_flight_bytes += size_bytes
        if self._is_crowded:
            self._connection.hold("in flight")

    def end_answer(self, size_bytes: int = 0) -> None:
        self._in_flight -= 1
        self._in_flight_bytes -= size_bytes
        if not self._is_crowded:
            self._connection.release("in flight")

    @property
    def _is_crowded(self) -> bool:
        return self._in_flight >= IN_FLIGHT_MAX or self._in_flight_bytes >= IN_FLIGHT_MAX_BYTES
