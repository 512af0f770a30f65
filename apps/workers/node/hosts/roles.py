"""The roles of connections on a host's socket: the agent's, and that of the process of one run."""

import asyncio
from typing import Any, Protocol

from trigger_sdk.wire import Frame, encode_frame

from apps.workers.node.hosts.connection import Connection
from apps.workers.node.hosts.ends import ProcessEnd

IN_FLIGHT_MAX = 32
"""Frames of one child that wait for an answer before nothing more of it is heard."""

IN_FLIGHT_MAX_BYTES = 16 * 1024 * 1024
"""The same for what they hold: a node keeps it until the coordinator has taken it."""


class RunListener(Protocol):
    """What a host tells of one run; every method is called on the event loop and returns at once."""

    def connected(self, child: "ChildConnection") -> None: ...
    def frame(self, child: "ChildConnection", frame: Frame) -> None:
        """Raises WireError for a frame that the protocol does not allow: the connection ends, `broke_off` says why."""

    def broke_off(self, reason: str) -> None: ...
    def output(self, header: dict[str, Any]) -> None: ...
    def started(self, pid: int, kind: str) -> None: ...
    def ended(self, end: ProcessEnd) -> None: ...


class AgentListener(Protocol):
    """The host, as the agent's connection needs it."""

    def heard(self, frame: Frame) -> None: ...
    def lose_agent(self) -> None: ...


class ChildListener(Protocol):
    """The host, as the connection of a run's process needs it."""

    def rests(self, child: "ChildConnection", header: dict[str, Any]) -> None: ...
    def spoke_idle(self, child: "ChildConnection") -> None: ...
    def lost(self, child: "ChildConnection") -> None: ...


class ControlConnection:
    """The agent's connection. The agent is the platform's own, and passes on what all its runs print, within their
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
        """Its end is told by `lost`."""

    def lost(self, _: Exception | None) -> None:
        self._host.lose_agent()

    def close(self) -> None:
        self._connection.close()

    def abort(self) -> None:
        """Closes without waiting for what the agent has not read: one that hangs never would."""
        if self._connection.transport is not None:
            self._connection.transport.abort()


class ChildConnection:
    """The connection of a run's process, or of one that is kept between two runs.

    It is heard no further while too many of its frames, or too large ones, wait for an answer.
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
        """The other side ended without having read all: the kernel tells so by a reset."""
        self._closed = asyncio.Event()

    def send(self, type: str, body: bytes = b"", **header: Any) -> None:  # noqa: A002 - the field's own name
        self._connection.send(encode_frame(type, body, **header))

    def tell(self, frames: list[bytes]) -> None:
        """Sends encoded frames in one piece, for which the other side wakes up once."""
        self._connection.send(b"".join(frames))

    @property
    def is_closed(self) -> bool:
        """Whether the other side is gone and all that it sent before has been heard."""
        return self._closed.is_set()

    @property
    def is_lost(self) -> bool:
        """Whether the other side is gone; some of what it sent before may still be heard."""
        return self._connection.is_lost

    def bind(self, listener: RunListener | None) -> None:
        """From here on its frames are that run's; None for none's."""
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
        """Until the other side has read most of what it was sent, or is gone."""
        await self._connection.wait_read()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def begin_answer(self, size_bytes: int = 0) -> None:
        """A frame of that size is taken up; every call needs its `end_answer` with the same size."""
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
