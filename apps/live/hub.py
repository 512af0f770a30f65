"""One LISTEN connection per web process: hears what changed and tells those who wait. Reads no rows.

A change is a hint: whoever hears it reads the row again. After a gap (the connection broke, a queue overflowed) waiters
hear `RESYNC`, which means "anything may have changed".
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from psycopg import sql

from apps.access.sessions import SESSIONS_CHANNEL
from apps.live.topics import TOPIC_KINDS, Topic, TopicKind
from apps.storage.connections import break_connection

if TYPE_CHECKING:
    from psycopg import AsyncConnection

QUEUE_LIMIT = 500
HEARTBEAT_SECONDS = 3.0
"""How often the hub notifies itself; a heartbeat that does not come back means a dead connection."""

ANSWER_SECONDS = 3.0
"""How long one statement may take; a silent database is noticed after this and a heartbeat's time."""

RECONNECT_SECONDS = (0.2, 5.0)
"""First and longest wait before another connection; doubles in between."""

CONNECT_TIMEOUT_SECONDS = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """`version` grows with each change that this process heard of; without a topic it asks for a new read."""

    topic: Topic | None
    version: int

    @property
    def is_resync(self) -> bool:
        return self.topic is None


class Subscription:
    """A bounded queue of changes. When it overflows the oldest are dropped and the reader is told to resync."""

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self._changes: deque[Change] = deque()
        self._limit = limit
        self._is_ready = asyncio.Event()

    def put(self, change: Change) -> None:
        if change.is_resync or len(self._changes) >= self._limit:
            self._changes.clear()
            change = Change(None, change.version)
        elif self._changes and self._changes[0].is_resync:
            return  # a read of everything is due anyway
        self._changes.append(change)
        self._is_ready.set()

    def wake(self) -> None:
        """Ends the wait without a change."""
        self._is_ready.set()

    async def wait(self, timeout_seconds: float | None = None) -> bool:
        """True as soon as there is a change, at once where one came since the subscription began; also when woken."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._is_ready.wait()
        except TimeoutError:
            return False
        return True

    def take(self) -> list[Change]:
        """What has come so far, the last word on each topic only."""
        latest = {change.topic: change for change in self._changes}
        self._changes.clear()
        self._is_ready.clear()
        return list(latest.values())


class Hub:
    """Subscriptions by topic, fed by one connection that outlives failures of the database."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._subscriptions: dict[Topic, set[Subscription]] = {}
        self._version = 0
        self._task: asyncio.Task[None] | None = None
        self.is_listening = asyncio.Event()
        self.on_sessions_ended: Callable[[], None] = lambda: None
        self.on_listening_changed: Callable[[], None] = lambda: None
        self._heartbeat_channel = f"trigger_hub_{secrets.token_hex(8)}"

    @asynccontextmanager
    async def subscribed(self, *topics: Topic) -> AsyncIterator[Subscription]:
        """Hears of these topics from the first line of the block on: subscribe, then read, then wait."""
        subscription = Subscription()
        self.add(subscription, topics)
        try:
            yield subscription
        finally:
            self.remove(subscription, topics)

    async def wait_for_change(self, topic: Topic, timeout_seconds: float) -> bool:
        """True when it changed, or may have, within that time. A change before the call is not heard: where a read came
        first, use `subscribed` around both."""
        async with self.subscribed(topic) as subscription:
            return await subscription.wait(timeout_seconds)

    def add(self, subscription: Subscription, topics: Iterable[Topic]) -> None:
        for topic in topics:
            self._subscriptions.setdefault(topic, set()).add(subscription)
        self.start()

    def remove(self, subscription: Subscription, topics: Iterable[Topic]) -> None:
        for topic in topics:
            subscribers = self._subscriptions.get(topic, set())
            subscribers.discard(subscription)
            if not subscribers:
                self._subscriptions.pop(topic, None)

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
                self.on_listening_changed()
                wait_seconds = RECONNECT_SECONDS[0]
            await asyncio.sleep(wait_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            wait_seconds = min(longest, wait_seconds * 2)

    async def _listen(self) -> None:
        """One connection's life; returns when a heartbeat stays away."""
        connection = await psycopg.AsyncConnection.connect(
            self._database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, prepare_threshold=None,
            options=f"{settings.DATABASE_TIMEOUT_OPTIONS} -c synchronous_commit=off",  # a heartbeat waits for no disk
        )  # fmt: skip
        channels = {kind.channel: kind for kind in TOPIC_KINDS.values()}
        async with connection:
            with answering(connection):
                for channel in (*channels, SESSIONS_CHANNEL, self._heartbeat_channel):
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            self.is_listening.set()
            self.on_listening_changed()
            self._tell_everybody()
            has_heartbeat = True
            while has_heartbeat:
                with answering(connection):
                    await connection.execute("SELECT pg_notify(%s, '')", (self._heartbeat_channel,))
                has_heartbeat = await self._hear(connection, channels)
        logger.warning("hub.disconnected: no heartbeat for %s s", HEARTBEAT_SECONDS)

    async def _hear(self, connection: AsyncConnection, channels: Mapping[str, TopicKind]) -> bool:
        """Passes on what comes during one heartbeat's time; says whether the heartbeat came as well."""
        has_heartbeat = False
        async for notification in connection.notifies(timeout=HEARTBEAT_SECONDS):
            if notification.channel == self._heartbeat_channel:
                has_heartbeat = True
            elif notification.channel == SESSIONS_CHANNEL:
                self.on_sessions_ended()
            elif kind := channels.get(notification.channel):
                self._publish(kind.one, filter(None, notification.payload.split(",")))
        return has_heartbeat

    def _publish(self, kind: str, keys: Iterable[str]) -> None:
        everything = Topic(kind)
        for key in keys:
            self._version += 1
            topic = Topic(kind, key)
            change = Change(topic, self._version)
            for heard in (topic, everything):
                for subscription in self._subscriptions.get(heard, ()):
                    subscription.put(change)

    def _tell_everybody(self) -> None:
        self._version += 1
        for subscription in {one for several in self._subscriptions.values() for one in several}:
            subscription.put(Change(None, self._version))


@contextmanager
def answering(connection: AsyncConnection) -> Iterator[None]:
    """Breaks the connection where the database is silent meanwhile, for which no timeout of the server's does."""
    alarm = asyncio.get_running_loop().call_later(ANSWER_SECONDS, break_connection, connection)
    try:
        yield
    finally:
        alarm.cancel()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def hub() -> Hub:
    """The hub of the running event loop; its connection is made at the first subscription."""
    return _hubs.setdefault(asyncio.get_running_loop(), Hub(settings.LISTEN_DATABASE_URL))
