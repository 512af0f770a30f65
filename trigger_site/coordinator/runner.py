"""Runs the loops over ticks, one per lane: decides when, isolates a failing step, backs off, and ends at once when
asked to."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import close_old_connections, connections

from trigger_site.coordinator.ticks import TICKS, Lane, Tick
from trigger_site.timeouts import statement_timeout

BACKOFF_MAX_SECONDS = 10.0
"""So that no tick is older than 15 s after the database comes back."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Due:
    """When a tick runs next, by the process's monotonic clock, and how often it has failed in a row."""

    tick: Tick
    at: float = 0.0
    failure_count: int = 0


class LaneRunner:
    """Runs the ticks of one lane in one thread until `stopping` is set."""

    def __init__(self, ticks: Sequence[Tick], stopping: threading.Event) -> None:
        self._dues = [Due(tick) for tick in ticks]
        self._stopping = stopping

    def run_once(self) -> None:
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
            with statement_timeout(due.tick.lane.statement_seconds):
                is_more = due.tick.step()
        except Exception:
            due.failure_count += 1
            logger.exception("ticks.fail tick=%s failures=%s", due.tick.name, due.failure_count)
            delay = min(BACKOFF_MAX_SECONDS, due.tick.every_seconds * 2 ** min(due.failure_count, 10))
        else:
            due.failure_count = 0
            delay = 0.0 if is_more else due.tick.every_seconds
        due.at = time.monotonic() + delay


class Runner:
    """Runs all ticks, each lane in a thread of its own."""

    def __init__(self, ticks: Sequence[Tick] = TICKS) -> None:
        self._stopping = threading.Event()
        of_lane: dict[Lane, list[Tick]] = {}
        for tick in ticks:
            of_lane.setdefault(tick.lane, []).append(tick)
        self.lanes = {lane: LaneRunner(each, self._stopping) for lane, each in of_lane.items()}
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for lane, runner in self.lanes.items():
            thread = threading.Thread(target=runner.run_forever, name=f"ticks-{lane}")
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Asks all lanes to end; a step in progress is finished first."""
        self._stopping.set()

    def join(self, timeout_seconds: float | None = None) -> None:
        """Waits until all lanes have ended."""
        for thread in self._threads:
            thread.join(timeout_seconds)

    @property
    def has_ended(self) -> bool:
        """Whether all started lanes have ended."""
        return not any(thread.is_alive() for thread in self._threads)

    def run_once(self) -> None:
        """Makes one pass over all ticks, for `--once` and tests."""
        for runner in self.lanes.values():
            runner.run_once()
