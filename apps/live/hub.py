"""One LISTEN connection per web process: hears which runs changed and tells those who wait. Reads no rows.

A change is a hint: whoever hears it reads the row again. After a gap (the connection broke, a queue overflowed) waiters
hear `RESYNC`, which means "anything may have changed".
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from psycopg import sql

from apps.access.sessions import SESSIONS_CHANNEL
from apps.live.notify import RUNS_CHANNEL

if TYPE_CHECKING:
    from psycopg import AsyncConnection

ALL_RUNS: Final = "*"
"""The subscription that hears of every run."""

QUEUE_LIMIT = 500
HEARTBEAT_SECONDS = 10.0
"""How often the hub notifies itself; a heartbeat that does not come back means a dead connection."""

RECONNECT_SECONDS = (0.2, 5.0)
"""First and longest wait before another connection; doubles in between."""

CONNECT_TIMEOUT_SECONDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """`version` grows with each change that this process heard of; an empty `run_id` asks for a new read."""

    run_id: str
    version: int

    @property
    def is_resync(self) -> bool:
        return not self.run_id


class Subscription:
    """A bounded queue of changes. When it overflows the oldest are dropped and the reader is told to resync."""

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._changes: deque[Change] = deque()
        self._limit = limit
        self._is_ready = asyncio.Event()

    def put(self, change: Change) -> None:
        if change.is_resync or len(self._changes) >= self._limit:
            self._changes.clear()
            change = Change("", change.version)
        elif self._changes and self._changes[0].is_resync:
            return  # a read of everything is due anyway
        self._changes.append(change)
        self._is_ready.set()

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """True as soon as there is a change, at once where one came since the subscription began."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._is_ready.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> list[Change]:
        """What has come so far, the last word on each run only."""
        latest = {change.run_id: change for change in self._changes}
        self._changes.clear()
        self._is_ready.clear()
        return list(latest.values())


class Hub:
    """Subscriptions by run id (the UUID's text), fed by one connection that outlives failures of the database."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._subscriptions: dict[str, set[Subscription]] = {}
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self.is_listening = asyncio.Event()
        self.on_sessions_ended: Callable[[], None] = lambda: None
        self._heartbeat_channel = f"trigger_hub_{secrets.token_hex(8)}"

    @asynccontextmanager
    async def subscribed(self, *run_ids: str) -> AsyncIterator[Subscription]:
        """Hears of these runs from the first line of the block on: subscribe, then read, then wait."""
        subscription = Subscription()
        self.add(subscription, run_ids)
        try:
            yield subscription
        finally:
            self.remove(subscription, run_ids)

    async def wait_for_change(self, run_id: str, timeout_seconds: float) -> bool:
        """True when the run changed, or may have, within that time. A change before the call is not heard: where a
        read came first, use `subscribed` around both."""
        async with self.subscribed(run_id) as subscription:
            return await subscription.wait(timeout_seconds)

    def add(self, subscription: Subscription, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._subscriptions.setdefault(run_id, set()).add(subscription)
        self.start()

    def remove(self, subscription: Subscription, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            subscribers = self._subscriptions.get(run_id, set())
            subscribers.discard(subscription)
            if not subscribers:
                self._subscriptions.pop(run_id, None)

    def start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._listen_forever(), name="hub")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _listen_forever(self) -> None:
        wait_seconds, longest = RECONNECT_SECONDS
        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as error:
                logger.warning("hub.disconnected: %s", error)
            if self.is_listening.is_set():
                self.is_listening.clear()
                wait_seconds = RECONNECT_SECONDS[0]
            await asyncio.sleep(wait_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            wait_seconds = min(longest, wait_seconds * 2)

    async def _listen(self) -> None:
        """One connection's life; returns when a heartbeat stays away."""
        connection = await psycopg.AsyncConnection.connect(
            self._database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, prepare_threshold=None,
            options=settings.DATABASE_TIMEOUT_OPTIONS,
        )  # fmt: skip
        async with connection:
            for channel in (RUNS_CHANNEL, SESSIONS_CHANNEL, self._heartbeat_channel):
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self.is_listening.set()
            self._tell_everybody()
            has_heartbeat = True
            while has_heartbeat:
                await connection.execute("SELECT pg_notify(%s, '')", (self._heartbeat_channel,))
                has_heartbeat = await self._hear(connection)
        logger.warning("hub.disconnected: no heartbeat for %s s", HEARTBEAT_SECONDS)

    async def _hear(self, connection: AsyncConnection) -> bool:
        """Passes on what comes during one heartbeat's time; says whether the heartbeat came as well."""
        has_heartbeat = False
        async for notification in connection.notifies(timeout=HEARTBEAT_SECONDS):
            if notification.channel == self._heartbeat_channel:
                has_heartbeat = True
            elif notification.channel == SESSIONS_CHANNEL:
                self.on_sessions_ended()
            else:
                self._publish(filter(None, notification.payload.split(",")))
        return has_heartbeat

    def _publish(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._version += 1
            change = Change(run_id, self._version)
            for topic in (run_id, ALL_RUNS):
                for subscription in self._subscriptions.get(topic, ()):
                    subscription.put(change)

    def _tell_everybody(self) -> None:
        self._version += 1
        for subscription in {one for several in self._subscriptions.values() for one in several}:
            subscription.put(Change("", self._version))


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop; its connection is made at the first subscription."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub(settings.LISTEN_DATABASE_URL))


def topic_of(run_id: UUID) -> str:
    return str(run_id)
