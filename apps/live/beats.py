"""Tells each open page, every few seconds, that this process is alive and whether it hears of changes.

A connection to a frozen process stays open and silent, and a browser shows no script its protocol's own pings: so a
page that misses these messages asks again by itself. One timer per event loop serves all of its sockets.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from apps.live.hub import hub

BEAT_SECONDS = 4.0
"""`static/js/live_socket.js` takes the process for frozen when it has missed two of them."""


class Listener(Protocol):
    """A socket, as the beats see it."""

    def hear(self, beat: dict[str, Any]) -> None:
        """Sends it when it can; a later beat replaces one that still waits."""
        ...


class Beats:
    """Runs as long as there are sockets; beats at once when the hub begins or ceases to listen."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_due = asyncio.Event()
        self._number = 0

    def add(self, listener: Listener) -> None:
        self._listeners.add(listener)
        hub().on_listening_changed = self._is_due.set
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="beats")

    def remove(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners:
            self._is_due.set()  # and ends

    def latest(self) -> dict[str, Any]:
        return {"beat": self._number, "listening": hub().is_listening.is_set()}

    async def _run(self) -> None:
        while self._listeners:
            self._is_due.clear()
            self._number += 1
            beat = self.latest()
            for listener in self._listeners:
                listener.hear(beat)
            await self._pause()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                await self._is_due.wait()
        except TimeoutError:
            return


_beats: WeakKeyDictionary[asyncio.AbstractEventLoop, Beats] = WeakKeyDictionary()


def beats() -> Beats:
    """The beats of the running event loop."""
    return _beats.setdefault(asyncio.get_running_loop(), Beats())
