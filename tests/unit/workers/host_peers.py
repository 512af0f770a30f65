"""The other ends of a host's socket, played by the test: an agent, the process of a run, a listener to both."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from trigger_sdk.wire import PROTOCOL_VERSION, SOCKET_NAME, Frame, FrameBuffer, encode_frame

from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.hosts.host import Host
from apps.workers.node.hosts.roles import ChildConnection


class Peer:
    """The other end of a connection to the socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._buffer = reader, writer, FrameBuffer()
        self._frames: list[Frame] = []

    def send(self, type: str, **header: Any) -> None:  # noqa: A002 - the field's own name
        self._writer.write(encode_frame(type, **header))

    async def receive(self) -> Frame | None:
        """The next frame; None where the host has closed the connection."""
        while not self._frames:
            data = await asyncio.wait_for(self._reader.read(65536), 60)
            if not data:
                return None
            self._frames += self._buffer.feed(data)
        return self._frames.pop(0)

    def close(self) -> None:
        self._writer.close()

    async def closed(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


PEERS: list[Peer] = []


class Listener:
    """Remembers what a host tells of a run."""

    def __init__(self) -> None:
        self.children: list[ChildConnection] = []
        self.frames: list[Frame] = []
        self.breaches: list[str] = []
        self.end: asyncio.Future[ProcessEnd] = asyncio.get_running_loop().create_future()

    def connected(self, child: ChildConnection) -> None:
        self.children.append(child)
        child.send("go")

    def frame(self, child: ChildConnection, frame: Frame) -> None:
        self.frames.append(frame)

    def broke_off(self, reason: str) -> None:
        self.breaches.append(reason)

    def output(self, header: dict[str, Any]) -> None: ...
    def started(self, pid: int, kind: str) -> None: ...

    def ended(self, end: ProcessEnd) -> None:
        self.end.set_result(end)


@asynccontextmanager
async def a_host(folder: Path) -> AsyncIterator[Host]:
    host = Host(folder, isolation="none", variables={"SECRET": "value"})
    await host.listen()
    try:
        yield host
    finally:
        host.close()
        while PEERS:
            await PEERS.pop().closed()


async def connect(folder: Path) -> Peer:
    PEERS.append(Peer(*await asyncio.open_unix_connection(str(folder / SOCKET_NAME))))
    return PEERS[-1]


async def agent_of(folder: Path, **header: Any) -> Peer:
    peer = await connect(folder)
    peer.send("hello", protocol=PROTOCOL_VERSION, **header)
    return peer


async def ticket_of(agent: Peer) -> str:
    frame = await agent.receive()
    assert frame is not None
    assert frame.type == "run"
    return str(frame.header["ticket"])
