"""Two claims led by hand through their statements: every order in which their statements can follow each other.

A session stands before each statement until it is its turn. One that waits for a lock of the database has had its turn.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import psycopg

DEADLINE_SECONDS = 60.0

Work = Callable[[psycopg.AsyncConnection[Any]], Awaitable[object]]


class Gate:
    """Where a session stands before its next statement."""

    def __init__(self) -> None:
        self.is_waiting = False
        self._opened = asyncio.Event()

    async def passed(self) -> None:
        self.is_waiting = True
        await self._opened.wait()
        self._opened.clear()

    def open(self) -> None:
        self.is_waiting = False
        self._opened.set()


class SteppedCursor(psycopg.AsyncCursor[Any]):
    async def execute(self, *arguments: Any, **options: Any) -> "SteppedCursor":
        gate = getattr(self.connection, "gate", None)
        if gate is not None:
            await gate.passed()
        return await super().execute(*arguments, **options)


class Session:
    """One claim on a connection of its own."""

    def __init__(self, database: psycopg.AsyncConnection[Any], work: Work) -> None:
        self.gate = Gate()
        self.pid = database.info.backend_pid
        database.gate = self.gate  # type: ignore[attr-defined]
        self.task = asyncio.ensure_future(work(database))

    async def step(self, observer: psycopg.AsyncConnection[Any]) -> bool:
        """One statement further, or to the lock that it waits for; False where it cannot move."""
        if not self.gate.is_waiting or self.task.done():
            return False
        self.gate.open()
        await self.settle(observer)
        return True

    async def settle(self, observer: psycopg.AsyncConnection[Any]) -> None:
        """Until it stands at its gate, has ended, or waits for a lock."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not self.gate.is_waiting and not self.task.done() and not await self._waits_for_a_lock(observer):
            assert time.monotonic() < deadline, "the session neither moves nor waits"
            await asyncio.sleep(0.001)

    async def _waits_for_a_lock(self, observer: psycopg.AsyncConnection[Any]) -> bool:
        cursor = await observer.execute("SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s", (self.pid,))
        return await cursor.fetchone() == ("Lock",)


def interleavings(first: int, second: int) -> Iterator[str]:
    """Every order of so many steps of session A and so many of session B."""
    for places in combinations(range(first + second), first):
        yield "".join("A" if place in places else "B" for place in range(first + second))


class Stage:
    """Two connections for the sessions and one that looks on."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connections: list[psycopg.AsyncConnection[Any]] = []

    async def __aenter__(self) -> "Stage":
        for _ in range(3):
            self._connections.append(await psycopg.AsyncConnection.connect(self._url, autocommit=True))
        self.observer = self._connections[0]
        for database in self._connections[1:]:
            database.cursor_factory = SteppedCursor
        return self

    async def __aexit__(self, *_: object) -> None:
        for database in self._connections:
            await database.close()

    async def lead(self, order: str, works: Sequence[Work]) -> None:
        """Runs the two works in that order of their statements; what is left over runs at the end, in turns."""
        sessions = [Session(database, work) for database, work in zip(self._connections[1:], works, strict=True)]
        try:
            for session in sessions:
                await session.settle(self.observer)
            for name in order:
                await sessions["AB".index(name)].step(self.observer)
                for session in sessions:  # a commit lets the other one go on
                    await session.settle(self.observer)
            while not all(session.task.done() for session in sessions):
                for session in sessions:
                    await session.step(self.observer)
                    await session.settle(self.observer)
            for session in sessions:
                await session.task
        finally:
            for session in sessions:
                session.task.cancel()
            await asyncio.gather(*(session.task for session in sessions), return_exceptions=True)
