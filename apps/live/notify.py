"""Tells other processes what changed: NOTIFY with ids only, after commit; the first at once, then coalesced.

A notification is a hint; polling is the truth, so a lost one costs at most a poll's interval. It is sent on its own
connection, because a NOTIFY inside a hot transaction serialises commits.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import transaction

from apps.live.topics import RUNS, TopicKind

PENDING_CHANNEL = "trigger_pending"
CANCEL_CHANNEL = "trigger_cancel"
URGENT_CHANNELS = frozenset({PENDING_CHANNEL, CANCEL_CHANNEL})
"""What coordinators act on; what pages show may wait for more of it."""

COALESCE_SECONDS = 0.005
PAGE_COALESCE_SECONDS = 0.05
"""For what only pages wait for."""

# A notification's commit would wait for the disk, though nothing is lost with it. For this transaction alone: behind a
# pooler the session belongs to others too.
SEND = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"
CONNECT_TIMEOUT_SECONDS = 5
PAYLOAD_MAX_BYTES = 7900
"""Postgres refuses a payload of 8,000 bytes and more."""

logger = logging.getLogger(__name__)


class Notifier:
    """A thread with its own connection that sends what was published, in batches."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._queue: queue.Queue[tuple[str, Sequence[str]]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._urgent = threading.Event()

    def publish(self, channel: str, texts: Sequence[str] = ("",)) -> None:
        """`texts` are ASCII and hold no comma."""
        self._queue.put((channel, texts))
        if channel in URGENT_CHANNELS:
            self._urgent.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._send_forever, name="notifier", daemon=True)
                    self._thread.start()

    def flush(self, timeout_seconds: float = 2.0) -> bool:
        """Waits until everything published was sent; short-lived commands call it before they exit."""
        with self._queue.all_tasks_done:
            return self._queue.all_tasks_done.wait_for(lambda: not self._queue.unfinished_tasks, timeout_seconds)

    def _send_forever(self) -> None:
        database: psycopg.Connection | None = None
        while True:
            batch = [self._queue.get()]
            self._urgent.clear()
            while not self._queue.empty():
                batch.append(self._queue.get())
            database = self._deliver(batch, database)
            for _ in batch:
                self._queue.task_done()
            time.sleep(COALESCE_SECONDS)
            self._urgent.wait(PAGE_COALESCE_SECONDS - COALESCE_SECONDS)

    def _deliver(
        self, batch: list[tuple[str, Sequence[str]]], database: psycopg.Connection | None
    ) -> psycopg.Connection | None:
        """Sends the batch, over a new connection where the old one turns out to be dead; returns the one to keep."""
        for is_last_try in (database is None, True):
            try:
                if database is None:
                    database = psycopg.connect(
                        self._database_url, autocommit=True, prepare_threshold=None,
                        connect_timeout=CONNECT_TIMEOUT_SECONDS, options=settings.DATABASE_TIMEOUT_OPTIONS,
                    )  # fmt: skip
                _send(database, batch)
            except psycopg.Error as error:
                if database is not None:
                    database.close()
                database = None
                if is_last_try:
                    # Receivers poll, so what is lost here arrives late and nothing else.
                    logger.warning("broadcast.failed: %s", error)
                    return None
            else:
                return database
        return None


def _send(database: psycopg.Connection, batch: Iterable[tuple[str, Sequence[str]]]) -> None:
    texts: dict[str, dict[str, None]] = {}
    for channel, each in batch:
        texts.setdefault(channel, {}).update(dict.fromkeys(each))
    for channel, distinct in texts.items():
        for payload in _payloads(distinct):
            database.execute(SEND, (channel, payload))


def _payloads(texts: Iterable[str]) -> Iterable[str]:
    """Comma-separated texts, as many as one notification carries; an empty one alone is a payload, too."""
    taken: list[str] = []
    size = 0
    for text in texts:
        size += len(text) + 1
        if size > PAYLOAD_MAX_BYTES and taken:
            yield ",".join(taken)
            taken, size = [], len(text) + 1
        taken.append(text)
    yield ",".join(taken)


_notifier: Notifier | None = None


def notifier() -> Notifier:
    global _notifier
    if _notifier is None:
        _notifier = Notifier(settings.LISTEN_DATABASE_URL)
    return _notifier


def announce(kind: TopicKind, ids: Iterable[UUID | str]) -> None:
    """After the commit: what pages show of these has changed."""
    transaction.on_commit(partial(announce_now, kind, list(ids)))


def announce_now(kind: TopicKind, ids: Iterable[UUID | str]) -> None:
    """The same for a caller whose transaction has already committed."""
    if keys := kind.keys(ids):
        notifier().publish(kind.channel, keys)


def announce_runs(run_ids: Iterable[UUID], *, is_pending: bool = False, is_cancel: bool = False) -> None:
    """After the commit: these runs changed; wakes the coordinators where one became pending or is to be canceled."""
    transaction.on_commit(partial(_announce_runs_now, list(run_ids), is_pending=is_pending, is_cancel=is_cancel))


def _announce_runs_now(run_ids: Iterable[UUID], *, is_pending: bool, is_cancel: bool) -> None:
    if is_pending:
        notifier().publish(PENDING_CHANNEL)
    if is_cancel:
        notifier().publish(CANCEL_CHANNEL)
    announce_now(RUNS, run_ids)
