"""Asks for runs: one open poll, replaced by a newer one as slots become free."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

from apps import protocol as wire
from apps.workers.node.coordinator import CallRefusedError, Coordinator, CoordinatorError
from apps.workers.node.running import Running

POLL_BACKOFF_SECONDS = (0.1, 2.0)
COALESCE_SECONDS = 0.003

logger = logging.getLogger(__name__)


class Polls:
    """Keeps one worker's polls and starts the claims in their replies."""

    def __init__(
        self,
        worker_id: UUID,
        coordinator: Coordinator,
        running: Running,
        *,
        concurrency: int,
        register: Callable[[], Awaitable[None]],
        fail: Callable[[BaseException], None],
    ) -> None:
        """`register` is for a coordinator that does not know the worker; `fail` is told why no poll can be answered."""
        self._worker_id = worker_id
        self._coordinator = coordinator
        self._running = running
        self._concurrency = concurrency
        self._register = register
        self._fail = fail
        self._open: set[asyncio.Task[None]] = set()
        self._polled_capacity = -1
        self._newest: UUID | None = None
        self._is_stopping = False

    def stop(self) -> None:
        """Replaces the open poll by one that asks for no more runs."""
        self._is_stopping = True
        self._running.changed.set()

    async def close(self) -> None:
        for poll in self._open:
            poll.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def keep_open(self) -> None:
        """Keeps one poll open; slots that become free go out with a newer poll, which ends the older one."""
        while True:
            self._running.changed.clear()
            is_closing = self._is_stopping and self._polled_capacity > 0
            if not self._open or self._capacity > self._polled_capacity or is_closing:
                self._polled_capacity = self._capacity
                poll = wire.Poll(self._worker_id, uuid4(), self._capacity, cancels_seen=self._running.cancels_seen)
                self._newest = poll.poll_id
                task = asyncio.create_task(self._poll(poll))
                self._open.add(task)
                task.add_done_callback(self._done)
            await self._running.changed.wait()
            if self._running:
                # A busy worker's slots become free one by one; a single poll asks for several.
                await asyncio.sleep(COALESCE_SECONDS)

    @property
    def _capacity(self) -> int:
        return 0 if self._is_stopping else max(0, self._concurrency - len(self._running))

    async def _poll(self, poll: wire.Poll) -> None:
        delay, longest = POLL_BACKOFF_SECONDS
        while True:
            try:
                reply = await self._coordinator.poll(poll)
            except CallRefusedError as error:
                if error.kind != "unknown-worker":
                    raise
                await self._register()
                await asyncio.sleep(delay)  # a draining worker does not register, and must not ask without a pause
            except CoordinatorError as error:
                logger.warning("worker.poll: %s; again in %.1f s", error, delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(longest, delay * 2)
                # The reply, with claims in it, may have been lost. Beyond those, ask for no more than is free now;
                # a newer poll asks for itself.
                poll.is_repeat = True
                poll.capacity = 0
                if poll.poll_id == self._newest:
                    self._polled_capacity = poll.capacity = self._capacity
            else:
                self._take(reply, is_newest=poll.poll_id == self._newest)
                return

    def _take(self, reply: wire.PollReply, *, is_newest: bool) -> None:
        # The answer to an older poll means that a newer one replaced it, which is still open.
        if is_newest:
            self._polled_capacity = -1
        self._running.begin(reply.claims)
        self._running.cancel(reply.cancels)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._open.discard(task)
        if not self._open:
            self._polled_capacity = -1
        self._running.changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("worker.poll: %s", error)
            self._fail(error)
