"""Connections that have not said who they are: how many there may be, and how often their refusal is told.

A task can reach its host's socket, and what it opens there are descriptors of the worker.
"""

import asyncio
import logging
from collections.abc import Iterator

from apps.workers.node.hosts.connection import Connection

STRANGERS_MAX = 16
"""Beyond the runs that are still to connect."""

REFUSALS_TOLD_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Strangers:
    """The connections of one host without a name."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._told_at = -REFUSALS_TOLD_SECONDS
        self._untold_count = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def admit(self, connection: Connection, *, expected_count: int) -> bool:
        """False for one too many."""
        if len(self._connections) >= STRANGERS_MAX + expected_count:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def tell_refusal(self, host: str, reason: str) -> None:
        """Logs why a connection was ended; a task that opens one after the other fills no log with it."""
        now = asyncio.get_running_loop().time()
        if now < self._told_at + REFUSALS_TOLD_SECONDS:
            self._untold_count += 1
            return
        untold = f" ({self._untold_count} more before it)" if self._untold_count else ""
        logger.warning("worker.refuse_connection host=%s: %.200s%s", host, reason, untold)
        self._told_at, self._untold_count = now, 0
