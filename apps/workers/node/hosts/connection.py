"""A connection on a host's socket: passes frames to its role, in turns and within an allowance."""

import asyncio
from typing import Protocol, cast

from trigger_sdk.wire import Frame, FrameBuffer, WireError

from apps.workers.node.hosts.allowance import TURN_UNITS, Allowance, cost_of

FIRST_FRAME_MAX_BYTES = 64 * 1024


class Role(Protocol):
    """What a connection is once identified: the agent's, or that of a run's process."""

    @property
    def is_metered(self) -> bool:
        """Whether the frames it reads count against its allowance."""

    def heard(self, frame: Frame) -> None: ...
    def broke_off(self, reason: str) -> None: ...
    def lost(self, error: Exception | None) -> None: ...


class Doorkeeper(Protocol):
    """The host as a connection sees it: it identifies connections."""

    def came(self, connection: "Connection") -> bool: ...
    def refuse(self, reason: str) -> None: ...
    def knows(self, connection: "Connection") -> None: ...
    def welcome(self, connection: "Connection", frame: Frame) -> Role: ...
    def bind(self, connection: "Connection", frame: Frame) -> Role: ...


class Connection(asyncio.Protocol):
    """A connection on a host's socket; its first frame says whether it is the agent or a child.

    It handles arrived frames a turn at a time, and no more than its allowance: the rest waits in the socket, and a peer
    that writes faster waits too.
    """

    def __init__(self, host: Doorkeeper) -> None:
        self._host = host
        self._buffer = FrameBuffer()
        self._role: Role | None = None
        self._unnamed_bytes = 0
        self._allowance = Allowance()
        self._holds: set[str] = set()
        self._is_reading = True
        self._is_read = asyncio.Event()
        self._is_read.set()
        self._next_turn: asyncio.Handle | None = None
        self._lost: list[Exception | None] = []
        """Has one entry once the other side is gone while frames it sent before are still unread."""
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
        """Handles complete frames until none is left, this turn is over, or reading is held."""
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
        """Handles one turn's frames; returns False if more may have arrived."""
        units = 0.0
        while not self._holds and units < TURN_UNITS and self._allowance.wait_seconds() == 0:
            frame = self._buffer.take()
            if frame is None:
                return True
            cost = cost_of(frame) if self._role is None or self._role.is_metered else 0.0
            units += cost or 1.0
            self._allowance.spend(cost)
            self._hear(frame)
        return False

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
        """Ends only this connection: what it sends can no longer be understood."""
        self._host.refuse(reason)
        if self._role is not None:
            self._role.broke_off(reason)
        self.close()

    def pause_writing(self) -> None:
        """Stops reading while the other side does not read: answers to it would pile up here."""
        self._is_read.clear()
        self.hold("unread")

    def resume_writing(self) -> None:
        self._is_read.set()
        self.release("unread")

    async def wait_read(self) -> None:
        """Waits until the other side has read most of what it was sent, or is gone."""
        await self._is_read.wait()

    def hold(self, reason: str) -> None:
        """Stops reading until every reason is released; present and future input waits."""
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
        """Stops reading, even what has already arrived."""
        self._buffer = FrameBuffer()
        self._unnamed_bytes = 0
        if self.transport is not None:
            self.transport.close()

    def _leave(self) -> None:
        role, self._role = self._role, None
        if role is not None:
            role.lost(self._lost[0])
