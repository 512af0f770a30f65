"""A TCP proxy between a worker and the coordinators: passes on to one that listens, and loses replies where told.

Knows bytes only. It runs an event loop of its own in a thread.
"""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress

PASS, CUT, SWALLOW = "pass", "cut", "swallow"
"""What becomes of a reply: it arrives; its connection is cut instead; nothing arrives and the connection stays open."""

CHUNK_BYTES = 64 * 1024
START_SECONDS = 20.0


class Wire:
    """Listens on `port`; `targets` are tried in their order for each new connection."""

    def __init__(self, port: int, targets: Sequence[int]) -> None:
        self.port = port
        self.lost_count = 0
        self._targets = targets
        self._mode = PASS
        self._spoiled: set[asyncio.StreamWriter] = set()
        """Open connections in whose stream bytes are missing."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"wire-{port}", daemon=True)
        self._thread.start()
        assert self._is_up.wait(START_SECONDS), "the proxy does not start"

    def lose(self, mode: str) -> None:
        """From now on replies are lost in this way; PASS ends it, and cuts what has lost some."""
        self._loop.call_soon_threadsafe(self._change, mode)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)

    def _change(self, mode: str) -> None:
        self._mode = mode
        if mode == PASS:
            for writer in self._spoiled:
                writer.transport.abort()
            self._spoiled.clear()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._is_up.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            writer.transport.abort()
            return
        there, back = upstream
        pumps = [asyncio.create_task(self._carry(reader, back)), asyncio.create_task(self._carry_back(there, writer))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        for end in (writer, back):
            end.transport.abort()
        self._spoiled.discard(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for target in self._targets:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", target)
        return None

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                writer.write(data)
                await writer.drain()

    async def _carry_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._mode == PASS and writer not in self._spoiled:
                    writer.write(data)
                    await writer.drain()
                    continue
                self.lost_count += 1
                if self._mode == CUT:
                    return
                self._spoiled.add(writer)
