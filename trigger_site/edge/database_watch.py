"""Asks the database every second, on its own connection, whether it answers, accepts writes and is migrated.

A database that falls silent (a frozen machine, a cut cable) keeps its connections open: no server timeout ends a
statement then. So the watch breaks this process's connections that wait for a silent database; their users get the
driver's own error, and the pools replace what is broken. It knows nothing of HTTP.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import psycopg
from django.db.backends.signals import connection_created
from django.db.migrations.loader import MigrationLoader
from psycopg.pq import TransactionStatus

from apps.storage.connections import break_connection

PING_SECONDS = 1.0
SILENT_SECONDS = 2.5
"""After this long without an answer it counts as away: with the pause between two queries, callers wait under 4 s."""
READY_SECONDS = 1.0
"""A database that takes longer to answer should get no traffic."""

NO_PLACE = ("too many", "connection slots")
"""Error texts of a server that refuses another connection but serves those it has."""

logger = logging.getLogger(__name__)

_used: WeakSet[psycopg.Connection[Any] | psycopg.AsyncConnection[Any]] = WeakSet()
_used_lock = threading.Lock()


def watched(connection: "psycopg.Connection[Any] | psycopg.AsyncConnection[Any]") -> None:
    """Marks a connection to be broken if the database falls silent while it waits for an answer."""
    with _used_lock:
        _used.add(connection)


def watch_django_connections() -> None:
    connection_created.connect(_on_connection_created, dispatch_uid="trigger_site.database_watch")


class DatabaseWatch:
    """Lives in one event loop. `is_away` and `unready` reflect the last query."""

    def __init__(
        self, url: str, *, on_away: Callable[[], None] = lambda: None, on_back: Callable[[], None] = lambda: None
    ) -> None:
        """`on_away` is called in the loop; `on_back` in a thread, before the database counts as back."""
        self.is_away = False
        self._url = url
        self._on_away = on_away
        self._on_back = on_back
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._missing_migrations: frozenset[tuple[str, str]] | None = None
        self._takes_writes = False
        self._answered_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="database-watch")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def unready(self) -> str:
        """Says in a sentence why no traffic should come here; empty if it may."""
        longest = PING_SECONDS + READY_SECONDS
        if self.is_away or asyncio.get_running_loop().time() - self._answered_at > longest:
            return f"The database has not answered within {READY_SECONDS:g} s."
        if not self._takes_writes:
            return "The database accepts no writes at present (a standby, or default_transaction_read_only)."
        if self._missing_migrations is None:
            return "The database is not migrated: run `manage.py migrate`."
        if self._missing_migrations:
            return f"{len(self._missing_migrations)} migrations are not applied: run `manage.py migrate`."
        return ""

    async def _run(self) -> None:
        expected = await asyncio.to_thread(lambda: frozenset(MigrationLoader(None).disk_migrations))
        try:
            while True:
                is_answering = await self._is_answering(expected)
                if is_answering and self.is_away:
                    await asyncio.wait({asyncio.create_task(asyncio.to_thread(self._on_back))}, timeout=SILENT_SECONDS)
                self._conclude(is_answering)
                await asyncio.sleep(PING_SECONDS)
        finally:
            self._drop_connection()

    async def _is_answering(self, expected: frozenset[tuple[str, str]]) -> bool:
        question = asyncio.create_task(self._ask(expected))
        await asyncio.wait({question}, timeout=SILENT_SECONDS)
        if not question.done():  # the answer may be unread if this loop was busy
            await asyncio.wait({question}, timeout=0.1)
        if not question.done():
            self._drop_connection()
            question.cancel()
        try:
            await question
        except asyncio.CancelledError:
            if not question.cancelled():
                raise
            return False
        except (psycopg.Error, OSError) as error:
            self._drop_connection()
            logger.debug("database.ping: %s", error)
            return any(words in str(error) for words in NO_PLACE)
        return True

    async def _ask(self, expected: frozenset[tuple[str, str]]) -> None:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=3, prepare_threshold=None
            )
        asked_at = asyncio.get_running_loop().time()
        cursor = await self._connection.execute("SELECT current_setting('transaction_read_only') = 'off'")
        row = await cursor.fetchone()
        self._takes_writes = bool(row and row[0])
        if self._missing_migrations is None or self._missing_migrations:
            self._missing_migrations = await _missing_migrations(self._connection, expected)
        answered_at = asyncio.get_running_loop().time()
        if answered_at - asked_at <= READY_SECONDS:
            self._answered_at = answered_at

    def _conclude(self, is_answering: bool) -> None:  # noqa: FBT001 - the one thing that was found
        if is_answering and self.is_away:
            logger.warning("database.back")
        self.is_away, was_away = not is_answering, self.is_away
        if self.is_away:
            break_waiting_connections()
            if not was_away:
                logger.warning("database.away")
                self._on_away()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            break_connection(self._connection)
            self._connection.pgconn.finish()
            self._connection = None


async def _missing_migrations(
    connection: psycopg.AsyncConnection[Any], expected: frozenset[tuple[str, str]]
) -> frozenset[tuple[str, str]] | None:
    """Returns None if nothing was ever applied."""
    try:
        cursor = await connection.execute("SELECT app, name FROM django_migrations")
    except psycopg.errors.UndefinedTable:
        return None
    return expected - set(await cursor.fetchall())


def break_waiting_connections() -> None:
    """Ends each watched connection that waits for an answer; an idle one may be intact when the database is back."""
    with _used_lock:
        connections = list(_used)
    for connection in connections:
        if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:
            break_connection(connection)


def _on_connection_created(connection: Any, **kwargs: Any) -> None:
    watched(connection.connection)
