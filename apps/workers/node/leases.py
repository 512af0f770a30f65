"""The worker's side of leases: renews them, and kills in time the attempts it could not renew."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from apps import protocol as wire
from apps.workers.node.attempts.run import LEASE_REASONS
from apps.workers.node.coordinator import (
    CallRefusedError,
    Coordinator,
    CoordinatorError,
    DatabaseUnavailableError,
)
from apps.workers.node.running import Running

CONFIRM_AFTER_SECONDS = 2.0
"""A claim still running after this time is confirmed by an early heartbeat; a shorter one by its finish."""
WATCH_SECONDS = 1.0

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Keeps the leases of running attempts."""

    def __init__(
        self, worker_id: UUID, coordinator: Coordinator, running: Running, *, register: Callable[[], Awaitable[None]]
    ) -> None:
        self._worker_id = worker_id
        self._coordinator = coordinator
        self._running = running
        self._register = register
        self._beat_now = asyncio.Event()
        self._away_since: float | None = None
        """Since when coordinators have been saying that only the database is away."""
        self._away_heard_at = 0.0
        """When they last said so: a coordinator that has gone silent is no excuse."""

    async def beat_forever(self) -> None:
        delay = wire.HEARTBEAT_SECONDS
        while True:
            try:
                await asyncio.wait_for(self._beat_now.wait(), delay)
            except TimeoutError:
                logger.debug("worker.beat")
            self._beat_now.clear()
            delay = wire.HEARTBEAT_SECONDS if await self._beat() else wire.HEARTBEAT_RETRY_SECONDS

    async def watch_forever(self) -> None:
        """Confirms claims that run longer, and kills what could not be renewed in time."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._watch(time.monotonic())

    async def say_goodbye(self) -> None:
        """Sends the last heartbeat of a worker that stops on purpose."""
        try:
            await self._coordinator.beat(wire.Heartbeat(self._worker_id, [], is_stopping=True))
        except CoordinatorError as error:
            logger.info("worker.goodbye: %s", error)

    async def _beat(self) -> bool:
        runs = self._running.runs()
        sent_at = time.monotonic()
        try:
            reply = await self._coordinator.beat(wire.Heartbeat(self._worker_id, [run.attempt.lease for run in runs]))
        except DatabaseUnavailableError as error:
            self._away_since, self._away_heard_at = self._away_since or sent_at, sent_at
            logger.warning("worker.beat: the database is away: %s", error)
            return False
        except CallRefusedError as error:
            logger.warning("worker.beat: %s", error)
            if error.kind == "unknown-worker":
                await self._register()
            return False
        except CoordinatorError as error:
            logger.warning("worker.beat: %s", error)
            return False
        self._away_since = None
        self._running.forget_unknown_cancels()
        stale = set(reply.stale)
        for run in runs:
            if run.attempt.claim.run_id in stale:
                run.stop("stale", 0.0)
            else:
                run.attempt.renewed_at = sent_at
        self._running.cancel(reply.cancels)
        return True

    def _watch(self, now: float) -> None:
        is_excused = (
            self._away_since is not None
            and now - self._away_since < wire.DATABASE_AWAY_SECONDS
            and now - self._away_heard_at < wire.SELF_KILL_SECONDS
        )
        for run in self._running.runs():
            attempt = run.attempt
            if attempt.renewed_at is None and now - attempt.received_at > CONFIRM_AFTER_SECONDS:
                self._beat_now.set()
            if now > attempt.lease_deadline and not is_excused and attempt.stop_reason not in LEASE_REASONS:
                logger.error("worker.lease_ended run.id=%s", attempt.public_run_id)
                run.stop("expired", 0.0)
