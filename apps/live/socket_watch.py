"""Ends sockets whose sessions have ended: one watch per event loop asks about all of its sockets together."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from apps.access.permissions import Actor, is_allowed
from apps.access.sessions import standing_sessions
from apps.live.hub import hub
from apps.live.topics import TOPIC_KINDS, Topic

RECHECK_SECONDS = 3.0
SHORTEST_PAUSE_SECONDS = 0.2
"""Between two questions, however many sign-outs are announced."""

NOT_SIGNED_IN = 4401
NOT_ALLOWED = 4403

logger = logging.getLogger(__name__)


class Socket(Protocol):
    """A socket, as the watch sees it."""

    session_key: str
    topics: dict[Topic, str]

    async def end(self, code: int) -> None: ...


class SocketWatch:
    """Runs as long as there are sockets. While the database does not answer, all stay."""

    def __init__(self) -> None:
        self._sockets: set[Socket] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_asked = asyncio.Event()

    def add(self, socket: Socket) -> None:
        self._sockets.add(socket)
        hub().on_sessions_ended = self._is_asked.set
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="socket-watch")

    def remove(self, socket: Socket) -> None:
        self._sockets.discard(socket)
        if not self._sockets:
            self._is_asked.set()  # and finds nothing to do; to cancel it would cut short what ends the last one

    async def _run(self) -> None:
        while self._sockets:
            await self._pause()
            try:
                await self._recheck()
            except DatabaseError as error:
                logger.warning("sockets.recheck: %s", str(error).strip())

    async def _pause(self) -> None:
        await asyncio.sleep(SHORTEST_PAUSE_SECONDS)
        try:
            async with asyncio.timeout(RECHECK_SECONDS - SHORTEST_PAUSE_SECONDS):
                await self._is_asked.wait()
        except TimeoutError:
            return
        finally:
            self._is_asked.clear()

    async def _recheck(self) -> None:
        sockets = list(self._sockets)
        standing = await ask_standing({socket.session_key for socket in sockets})
        ends = [(socket, reason_to_end(socket, standing.get(socket.session_key))) for socket in sockets]
        await asyncio.gather(*(socket.end(code) for socket, code in ends if code is not None))


def reason_to_end(socket: Socket, actor: Actor | None) -> int | None:
    """The code of the closure; None for a socket that may stay. One without topics hears nothing anyway."""
    if actor is None:
        return NOT_SIGNED_IN
    readings = {TOPIC_KINDS[topic.kind].reading for topic in socket.topics}
    return None if all(is_allowed(actor, reading) for reading in readings) else NOT_ALLOWED


@database_sync_to_async  # type: ignore[untyped-decorator]
def ask_standing(session_keys: set[str]) -> dict[str, Actor]:
    return standing_sessions(session_keys)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, SocketWatch] = WeakKeyDictionary()


def socket_watch() -> SocketWatch:
    """The watch of the running event loop."""
    return _watches.setdefault(asyncio.get_running_loop(), SocketWatch())
