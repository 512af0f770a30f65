"""The connections on a host's socket, by their roles: who is not known yet, the agent, and the process of one run."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, cast

from trigger_sdk.wire import Frame, FrameBuffer, WireError, encode_frame

from .attempts import ProcessEnd

if TYPE_CHECKING:
    from .hosts import Host

IN_FLIGHT_MAX = 32
"""Frames of one child that wait for an answer before its socket is read no further."""

FIRST_FRAME_MAX_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


class RunListener(Protocol):
    """What a host tells of one run; every method is called on the event loop and returns at once."""

    def connected(self, child: "ChildConnection") -> None: ...
    def frame(self, child: "ChildConnection", frame: Frame) -> None: ...
    def output(self, header: dict[str, Any]) -> None: ...
    def started(self, pid: int, kind: str) -> None: ...
    def ended(self, end: ProcessEnd) -> None: ...


class Connection(asyncio.Protocol):
    """A connection on a host's socket; its first frame says whether it is the agent or a child."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._buffer = FrameBuffer()
        self._role: ControlConnection | ChildConnection | None = None
        self._unnamed_bytes = 0
        self._reading_holds: set[str] = set()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self._host.came(self):
            logger.warning("worker.refuse_connection host=%s: too many connections without a name", self._host.name)
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._buffer.feed(data):
                self._hear(frame)
            self._bound_first_frame(len(data))
        except (WireError, ValueError, KeyError, TypeError) as error:
            logger.warning("worker.refuse_connection host=%s: %s", self._host.name, error)
            self.close()

    def _bound_first_frame(self, byte_count: int) -> None:
        self._unnamed_bytes += byte_count if self._role is None else 0
        if self._unnamed_bytes > FIRST_FRAME_MAX_BYTES:
            raise WireError("a first frame that is too long")

    def _hear(self, frame: Frame) -> None:
        if self._role is not None:
            self._role.heard(frame)
        elif frame.type == "hello":
            self._role = self._host.welcome(self, frame)
        elif frame.type == "ticket":
            self._role = self._host.bind(self, frame)
        else:
            raise WireError(f"a first frame {frame.type!r}")
        self._host.knows(self)

    def pause_writing(self) -> None:
        """The other side does not read: what it asks for would pile up here as answers."""
        self.hold_reading("unread")

    def resume_writing(self) -> None:
        self.release_reading("unread")

    def hold_reading(self, reason: str) -> None:
        if not self._reading_holds and self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()
        self._reading_holds.add(reason)

    def release_reading(self, reason: str) -> None:
        self._reading_holds.discard(reason)
        if not self._reading_holds and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.knows(self)
        if self._role is not None:
            self._role.lost(exc)

    def send(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class ControlConnection:
    """The agent's connection."""

    def __init__(self, host: "Host", connection: Connection) -> None:
        self._host = host
        self._connection = connection

    def send(self, type: str, **header: Any) -> None:  # noqa: A002 - the field's own name
        self._connection.send(encode_frame(type, **header))

    def heard(self, frame: Frame) -> None:
        self._host.heard(frame)

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

    Reading pauses while too many of its frames wait for an answer.
    """

    def __init__(self, host: "Host", ticket: str, connection: Connection, listener: RunListener) -> None:
        self.ticket = ticket
        self._host = host
        self._connection = connection
        self._listener: RunListener | None = listener
        self._in_flight = 0
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
        return self._closed.is_set()

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

    def lost(self, error: Exception | None) -> None:
        self.has_left_unread = isinstance(error, ConnectionError)
        self._closed.set()
        self._host.lost(self)

    def close(self) -> None:
        self._connection.close()

    async def wait_closed(self) -> None:
        await self._closed.wait()

    def begin_answer(self) -> None:
        self._in_flight += 1
        if self._in_flight == IN_FLIGHT_MAX:
            self._connection.hold_reading("in flight")

    def end_answer(self) -> None:
        self._in_flight -= 1
        if self._in_flight == IN_FLIGHT_MAX - 1:
            self._connection.release_reading("in flight")
