"""The connections on a host's socket, by their roles: who is not known yet, the agent, and the process of one run."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol, cast

from trigger_sdk.wire import Frame, FrameBuffer, WireError, encode_frame

from apps.workers.node.attempts.attempt import ProcessEnd
from apps.workers.node.hosts.allowance import TURN_UNITS, Allowance, cost_of

if TYPE_CHECKING:
    from apps.workers.node.hosts.host import Host

IN_FLIGHT_MAX = 32
"""Frames of one child that wait for an answer before nothing more of it is heard."""

IN_FLIGHT_MAX_BYTES = 16 * 1024 * 1024
"""The same for what they hold: a node keeps it until the coordinator has taken it."""

FIRST_FRAME_MAX_BYTES = 64 * 1024

logger = logging.getLogger(__name__)


class RunListener(Protocol):
    """What a host tells of one run; every method is called on the event loop and returns at once."""

    def connected(self, child: "ChildConnection") -> None: ...
    def frame(self, child: "ChildConnection", frame: Frame) -> None:
        """Raises WireError for a frame that the protocol does not allow: the connection ends, `broke_off` says why."""

    def broke_off(self, reason: str) -> None: ...
    def output(self, header: dict[str, Any]) -> None: ...
    def started(self, pid: int, kind: str) -> None: ...
    def ended(self, end: ProcessEnd) -> None: ...


class Connection(asyncio.Protocol):
    """A connection on a host's socket; its first frame says whether it is the agent or a child.

    Of what has arrived it hears a turn's worth at a time, and no more than its allowance: the rest waits in the socket,
    and whoever writes faster waits with it.
    """

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._buffer = FrameBuffer()
        self._role: ControlConnection | ChildConnection | None = None
        self._unnamed_bytes = 0
        self._allowance = Allowance()
        self._holds: set[str] = set()
        self._is_reading = True
        self._is_read = asyncio.Event()
        self._is_read.set()
        self._next_turn: asyncio.Handle | None = None
        self._lost: list[Exception | None] = []
        """With one entry the other side is gone, and what it has sent before is still to be heard."""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if not self._host.came(self):
            self._host.refuse("too many connections without a name")
            self.transport.abort()

    @property
    def is_lost(self) -> bool:
        return bool(self._lost)

    def data_received(self, data: bytes) -> None:
        self._buffer.add(data)
        if self._role is None:
            self._unnamed_bytes += len(data)
        if self._next_turn is None:
            self._hear_some()

    def _hear_some(self) -> None:
        """Hears what has arrived whole until it is all, this turn is over, or hearing is held back."""
        self._next_turn = None
        try:
            has_heard_all = self._hear_turn()
        except (WireError, ValueError, KeyError, TypeError) as error:
            self._break_off(str(error) or type(error).__name__)
            return
        if has_heard_all:
            self._heard_all()
            return
        self._read(is_reading=False)
        if not self._holds and self._next_turn is None:
            self._take_turn(self._allowance.wait_seconds())

    def _hear_turn(self) -> bool:
        """False where more may have arrived than this turn takes."""
        units = 0.0
        while not self._holds and units < TURN_UNITS and self._allowance.wait_seconds() == 0:
            frame = self._buffer.take()
            if frame is None:
                return True
            cost = cost_of(frame) if self._is_metered else 0.0
            units += cost or 1.0
            self._allowance.spend(cost)
            self._hear(frame)
        return False

    @property
    def _is_metered(self) -> bool:
        """The agent is the platform's own, and passes on what all its runs print, within their caps."""
        return not isinstance(self._role, ControlConnection)

    def _take_turn(self, after_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._next_turn = (
            loop.call_later(after_seconds, self._hear_some) if after_seconds else loop.call_soon(self._hear_some)
        )

    def _heard_all(self) -> None:
        if self._role is None and self._unnamed_bytes > FIRST_FRAME_MAX_BYTES:
            self._break_off("a first frame that is too long")
        elif self._lost:
            self._leave()
        else:
            self._read(is_reading=True)

    def _hear(self, frame: Frame) -> None:
        if self._role is not None:
            self._role.heard(frame)
        elif frame.type == "hello":
            self._role = self._host.welcome(self, frame)
        elif frame.type == "ticket":
            self._role = self._host.bind(self, frame)
        else:
            raise WireError(f"a first frame {frame.type!r:.60}")
        self._host.knows(self)

    def _break_off(self, reason: str) -> None:
        """This connection alone ends: what it sends cannot be understood any more."""
        self._host.refuse(reason)
        if self._role is not None:
            self._role.broke_off(reason)
        self.close()

    def pause_writing(self) -> None:
        """The other side does not read: what it asks for would pile up here as answers."""
        self._is_read.clear()
        self.hold("unread")

    def resume_writing(self) -> None:
        self._is_read.set()
        self.release("unread")

    async def wait_read(self) -> None:
        """Until the other side has read most of what it was sent, or is gone."""
        await self._is_read.wait()

    def hold(self, reason: str) -> None:
        """Hears nothing more until every reason is released; what is there and what comes waits."""
        self._holds.add(reason)
        self._read(is_reading=False)

    def release(self, reason: str) -> None:
        self._holds.discard(reason)
        if not self._holds and self._next_turn is None:
            self._take_turn(0.0)

    def _read(self, *, is_reading: bool) -> None:
        if is_reading == self._is_reading or self.transport is None or self.transport.is_closing():
            return
        self._is_reading = is_reading
        if is_reading:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.knows(self)
        self._lost.append(exc)
        self._is_read.set()
        if self._buffer.is_empty:
            self._leave()
        else:
            self.release("unread")

    def send(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)

    def close(self) -> None:
        """Hears nothing more, not even what has arrived."""
        self._buffer = FrameBuffer()
        self._unnamed_bytes = 0
        if self.transport is not None:
            self.transport.close()

    def _leave(self) -> None:
        role, self._role = self._role, None
        if role is not None:
            role.lost(self._lost[0])


class ControlConnection:
    """The agent's connection."""

    def __init__(self, host: "Host", connection: Connection) -> None:
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

    def __init__(self, host: "Host", ticket: str, connection: Connection, listener: RunListener) -> None:
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
