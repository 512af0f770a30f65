"""The one loop over ticks: decides when, isolates a failing step, backs off, and ends at once when asked to."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import close_old_connections, connections

from trigger_site.ticks import TICKS, Tick

BACKOFF_MAX_SECONDS = 10.0
"""So that no tick is older than 15 s after the database has come back."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Due:
    """When a tick runs next, by the process's monotonic clock, and how often it has failed in a row."""

    tick: Tick
    at: float = 0.0
    failure_count: int = 0


class Runner:
    """Runs the ticks in one thread until `stop`."""

    def __init__(self, ticks: Sequence[Tick] = TICKS) -> None:
        self._dues = [Due(tick) for tick in ticks]
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run_once(self) -> None:
        """One pass over all ticks, for `--once` and tests."""
        for due in self._dues:
            self._run(due)
        connections.close_all()

    def run_forever(self) -> None:
        while not self._stopping.is_set():
            due = min(self._dues, key=lambda candidate: candidate.at)
            if self._stopping.wait(max(0.0, due.at - time.monotonic())):
                break
            self._run(due)
        connections.close_all()

    def _run(self, due: Due) -> None:
        close_old_connections()
        try:
            is_more = due.tick.step()
        except Exception:
            due.failure_count += 1
            logger.exception("ticks.fail tick=%s failures=%s", due.tick.name, due.failure_count)
            delay = min(BACKOFF_MAX_SECONDS, due.tick.every_seconds * 2 ** min(due.failure_count, 10))
        else:
            due.failure_count = 0
            delay = 0.0 if is_more else due.tick.every_seconds
        due.at = time.monotonic() + delay
