"""Bounds the connections that have not identified themselves, and how often their refusal is logged.

A task can reach its host's socket, and every connection it opens costs the worker a descriptor.
"""

import asyncio
import logging
from collections.abc import Iterator

from apps.workers.node.hosts.connection import Connection

STRANGERS_MAX = 16
"""In addition to the runs that are yet to connect."""

REFUSALS_TOLD_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Strangers:
    """The unidentified connections of one host."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._told_at = -REFUSALS_TOLD_SECONDS
        self._untold_count = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def admit(self, connection: Connection, *, expected_count: int) -> bool:
        """Returns False if there are too many."""
        if len(self._connections) >= STRANGERS_MAX + expected_count:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def tell_refusal(self, host: str, reason: str) -> None:
        """Logs why a connection was ended; a task that opens many in a row cannot fill the log."""
        now = asyncio.get_running_loop().time()
        if now < self._told_at + REFUSALS_TOLD_SECONDS:
            self._untold_count += 1
            return
        untold = f" ({self._untold_count} more before it)" if self._untold_count else ""
        logger.warning("worker.refuse_connection host=%s: %.200s%s", host, reason, untold)
        self._told_at, self._untold_count = now, 0
