"""Keeps places whose process waits for its task's next run: who gets them, how many may wait, and how long.

Knows nothing of processes or containers: what must end is handed back to the executor.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from uuid import UUID

from apps.workers.node.executors.base import PoolKey, RunPlace

IDLE_SECONDS = 60.0
TASK_MAX = 5
NODE_MAX = 50
SWEEP_SECONDS = 1.0
"""How often the limits are checked. Under load a process waits milliseconds between two runs: one that has waited for
less than this counts neither as idle nor towards a limit."""

logger = logging.getLogger(__name__)


class WarmPool:
    """Idle places; the most recently used is taken first."""

    def __init__(self, end: Callable[[RunPlace], Awaitable[None]]) -> None:
        """`end` ends the process of a place that leaves the pool without a run."""
        self._end = end
        self._idle: OrderedDict[int, tuple[float, PoolKey, RunPlace]] = OrderedDict()
        """In order of last use, oldest first."""
        self._by_key: dict[PoolKey, list[RunPlace]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._idle)

    def open(self) -> None:
        self._sweeping = asyncio.create_task(self._sweep_forever(), name="end-idle-places")

    async def close(self) -> None:
        """Stops the sweep; the executor itself ends what it started."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()
        self._by_key.clear()

    def take(self, key: PoolKey | None) -> RunPlace | None:
        """Takes the most recently used place whose process waits; None if there is none."""
        places = self._by_key.get(key) if key is not None else None
        while places:
            place = places[-1]
            self._remove(place)
            if place.host.has_idle(place.ticket):
                place.is_warm, place.is_reusable, place.start_kind = True, False, "warm"
                return place
            self._discard(place)
        return None

    def put(self, place: RunPlace) -> bool:
        """Returns True if the pool keeps the place; otherwise it stays the caller's."""
        if place.pool_key is None or not place.is_reusable or not place.host.has_idle(place.ticket):
            return False
        self._idle[id(place)] = (asyncio.get_running_loop().time(), place.pool_key, place)
        self._by_key.setdefault(place.pool_key, []).append(place)
        return True

    def surplus(self, now: float) -> list[RunPlace]:
        """Returns places that waited too long, are gone, or exceed the limits; oldest first."""
        leaving: list[RunPlace] = []
        idle = [entry for entry in self._idle.values() if now - entry[0] >= SWEEP_SECONDS]
        count, counts = len(idle), _count_tasks(idle)
        for since, key, place in idle:
            if (
                now - since > IDLE_SECONDS
                or count > NODE_MAX
                or counts[key[:2]] > TASK_MAX
                or not place.host.has_idle(place.ticket)
            ):
                leaving.append(place)
                count -= 1
                counts[key[:2]] -= 1
        return leaving

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for place in self.surplus(asyncio.get_running_loop().time()):
                if id(place) in self._idle:  # otherwise it was taken while another one ended
                    self._remove(place)
                    await self._end_safely(place)

    def _remove(self, place: RunPlace) -> None:
        _, key, _ = self._idle.pop(id(place))
        places = self._by_key[key]
        places.remove(place)
        if not places:
            del self._by_key[key]

    def _discard(self, place: RunPlace) -> None:
        task = asyncio.create_task(self._end_safely(place), name="end-place")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_safely(self, place: RunPlace) -> None:
        try:
            await self._end(place)
        except Exception:  # one that cannot be ended must not block the others for ever
            logger.exception("worker.end_place container=%s", place.container)


def _count_tasks(idle: list[tuple[float, PoolKey, RunPlace]]) -> dict[tuple[UUID, str], int]:
    counts: dict[tuple[UUID, str], int] = {}
    for _, (deployment, task, *_), _place in idle:
        counts[deployment, task] = counts.get((deployment, task), 0) + 1
    return counts
