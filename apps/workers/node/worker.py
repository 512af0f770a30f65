"""The worker's loops: polls for runs, renews leases, stops what must stop, drains on SIGTERM."""

import asyncio
import logging
import random
import signal
import time
from uuid import UUID, uuid4

from apps import protocol as wire
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import LEASE_REASONS, AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.config import Config
from apps.workers.node.coordinator import CallRefusedError, Coordinator, CoordinatorError, DatabaseUnavailableError
from apps.workers.node.deployments import Deployments
from apps.workers.node.executors.base import Executor
from apps.workers.node.outbox import Outbox

CONFIRM_AFTER_SECONDS = 2.0
"""A claim that still runs after this time is confirmed by an early heartbeat; a shorter one by its finish."""
COALESCE_SECONDS = 0.003
POLL_BACKOFF_SECONDS = (0.1, 2.0)
WATCH_SECONDS = 1.0
INTERRUPT_GRACE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Worker:
    """One node's worker; `run` returns when it has drained."""

    def __init__(self, config: Config, coordinator: Coordinator, executor: Executor) -> None:
        self.id = uuid4()
        self._config = config
        self._coordinator = coordinator
        self._executor = executor
        self._tools = Tools(
            deployments=Deployments(coordinator),
            executor=executor,
            outbox=Outbox(coordinator.write),
            load_checkpoints=coordinator.stored_checkpoints,
            load_data=coordinator.stored_data,
        )
        self._runs: dict[UUID, AttemptRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._polls: set[asyncio.Task[None]] = set()
        self._polled_capacity = -1
        self._newest_poll: UUID | None = None
        self._unknown_cancels: set[UUID] = set()
        self._changed = asyncio.Event()
        self._beat_now = asyncio.Event()
        self._stopping = asyncio.Event()
        self._away_since: float | None = None
        """Since when coordinators say that only the database is away."""
        self._away_heard_at = 0.0
        """When they said so last: one that says nothing any more excuses nothing."""
        self._failure: BaseException | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._register()
        loops = [
            asyncio.create_task(work) for work in (self._poll_forever(), self._beat_forever(), self._watch_forever())
        ]
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({*loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            self._failure = task.exception()  # a loop ends by an error alone
            self.stop()
        await self._drain()
        for task in (*loops, stopping):  # a poll or a beat after the goodbye would take it back
            task.cancel()
        await self._say_goodbye()
        for poll in self._polls:
            poll.cancel()
        await asyncio.gather(*loops, *self._polls, stopping, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begins the drain: the open poll is replaced by one that asks for no more runs."""
        self._stopping.set()
        self._changed.set()

    @property
    def _capacity(self) -> int:
        return 0 if self._stopping.is_set() else max(0, self._config.concurrency - len(self._runs))

    async def _register(self) -> None:
        """Tells the coordinator of this worker; waits for a coordinator that is not there yet."""
        registration = wire.Registration(
            worker_id=self.id,
            name=self._config.name,
            executor=self._executor.name,
            concurrency=self._config.concurrency,
            protocol=wire.PROTOCOL_VERSION,
            executor_note=self._executor.note,
        )
        delay, longest = POLL_BACKOFF_SECONDS
        while not self._stopping.is_set():
            try:
                await self._coordinator.register(registration)
            except CallRefusedError:
                raise
            except CoordinatorError as error:
                # At the start of all processes together, the coordinator's absence is no news for a second or two.
                logger.log(
                    logging.INFO if delay > 0.5 else logging.DEBUG, "worker.register: %s; again in %.1f s", error, delay
                )
                await asyncio.sleep(delay)
                delay = min(longest, delay * 1.3)
            else:
                logger.info(
                    "worker.ready worker.id=%s executor=%s: %s", self.id, self._executor.name, self._executor.note
                )
                return

    # Polls.

    async def _poll_forever(self) -> None:
        """Keeps one poll open; slots that become free meanwhile go out with a newer poll, which ends the older one."""
        while True:
            self._changed.clear()
            is_closing = self._stopping.is_set() and self._polled_capacity > 0
            if not self._polls or self._capacity > self._polled_capacity or is_closing:
                self._polled_capacity = self._capacity
                poll = wire.Poll(self.id, uuid4(), self._capacity, cancels_seen=self._cancels_seen())
                self._newest_poll = poll.poll_id
                task = asyncio.create_task(self._poll(poll))
                self._polls.add(task)
                task.add_done_callback(self._poll_done)
            await self._changed.wait()
            if self._runs:
                # A busy worker's slots become free one after the other; one poll asks for several.
                await asyncio.sleep(COALESCE_SECONDS)

    async def _poll(self, poll: wire.Poll) -> None:
        delay, longest = POLL_BACKOFF_SECONDS
        while True:
            try:
                reply = await self._coordinator.poll(poll)
            except CallRefusedError as error:
                if error.kind != "unknown-worker":
                    raise
                await self._register()
                await asyncio.sleep(delay)  # a worker that drains does not register, and must not ask without a pause
            except CoordinatorError as error:
                logger.warning("worker.poll: %s; again in %.1f s", error, delay)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                delay = min(longest, delay * 2)
                # The reply may have been lost on its way, with claims in it. Beyond those it asks for no more than is
                # free by now; a newer poll asks for itself.
                poll.is_repeat = True
                poll.capacity = 0
                if poll.poll_id == self._newest_poll:
                    self._polled_capacity = poll.capacity = self._capacity
            else:
                self._take(reply, is_newest=poll.poll_id == self._newest_poll)
                return

    def _poll_done(self, task: "asyncio.Task[None]") -> None:
        self._polls.discard(task)
        if not self._polls:
            self._polled_capacity = -1
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("worker.poll: %s", error)
            self._failure = error
            self.stop()

    def _take(self, reply: wire.PollReply, *, is_newest: bool) -> None:
        # The answer to an older poll says that a newer one replaced it: that one still stands.
        if is_newest:
            self._polled_capacity = -1
        for claim in reply.claims:
            if claim.run_id not in self._runs or self._runs[claim.run_id].attempt.claim.token != claim.token:
                self._begin(claim)
        self._cancel(reply.cancels)

    def _begin(self, claim: wire.Claim) -> None:
        previous = self._runs.get(claim.run_id)
        if previous is not None:
            previous.stop("stale", 0.0)
        run = AttemptRun(Attempt(claim), self._tools)
        self._runs[claim.run_id] = run
        if claim.run_id in self._unknown_cancels:
            self._unknown_cancels.discard(claim.run_id)
            run.stop("canceled")
        task = asyncio.create_task(self._carry_out(run), name=f"run-{run.attempt.public_run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, run: AttemptRun) -> None:
        try:
            await run.run()
        except CoordinatorError as error:
            # Nothing was started and nothing can be said: the claim is released when it is not confirmed.
            logger.warning("worker.give_up run.id=%s: %s", run.attempt.public_run_id, error)
        except Exception:
            logger.exception("worker.run run.id=%s", run.attempt.public_run_id)
        finally:
            if self._runs.get(run.attempt.claim.run_id) is run:
                del self._runs[run.attempt.claim.run_id]
            self._changed.set()

    def _cancels_seen(self) -> list[UUID]:
        return [*self._unknown_cancels, *(run_id for run_id, run in self._runs.items() if run.attempt.stop_reason)]

    def _cancel(self, run_ids: list[UUID]) -> None:
        for run_id in run_ids:
            if run_id in self._runs:
                self._runs[run_id].stop("canceled")
            else:
                # Its claim was lost on its way: saying so keeps the next poll from being answered with it at once.
                self._unknown_cancels.add(run_id)

    # Leases.

    async def _beat_forever(self) -> None:
        delay = wire.HEARTBEAT_SECONDS
        while True:
            try:
                await asyncio.wait_for(self._beat_now.wait(), delay)
            except TimeoutError:
                logger.debug("worker.beat")
            self._beat_now.clear()
            delay = wire.HEARTBEAT_SECONDS if await self._beat() else wire.HEARTBEAT_RETRY_SECONDS

    async def _beat(self) -> bool:
        runs = list(self._runs.values())
        sent_at = time.monotonic()
        try:
            reply = await self._coordinator.beat(wire.Heartbeat(self.id, [run.attempt.lease for run in runs]))
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
        self._unknown_cancels.clear()
        stale = set(reply.stale)
        for run in runs:
            if run.attempt.claim.run_id in stale:
                run.stop("stale", 0.0)
            else:
                run.attempt.renewed_at = sent_at
        self._cancel(reply.cancels)
        return True

    async def _watch_forever(self) -> None:
        """Confirms claims that run for longer, and kills what could not be renewed in time."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = time.monotonic()
            is_excused = (
                self._away_since is not None
                and now - self._away_since < wire.DATABASE_AWAY_SECONDS
                and now - self._away_heard_at < wire.SELF_KILL_SECONDS
            )
            for run in self._runs.values():
                attempt = run.attempt
                if attempt.renewed_at is None and now - attempt.received_at > CONFIRM_AFTER_SECONDS:
                    self._beat_now.set()
                if now > attempt.lease_deadline and not is_excused and attempt.stop_reason not in LEASE_REASONS:
                    logger.error("worker.lease_ended run.id=%s", attempt.public_run_id)
                    run.stop("expired", 0.0)

    # The end.

    async def _drain(self) -> None:
        """Lets running attempts end by themselves for a while, then interrupts them and gives them back."""
        if self._tasks:
            logger.info("worker.drain runs=%s", len(self._tasks))
            await asyncio.wait(self._tasks, timeout=self._config.drain_seconds)
        for run in self._runs.values():
            run.stop("interrupted", INTERRUPT_GRACE_SECONDS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=INTERRUPT_GRACE_SECONDS * 2)
        for task in self._tasks:
            task.cancel()

    async def _say_goodbye(self) -> None:
        try:
            await self._coordinator.beat(wire.Heartbeat(self.id, [], is_stopping=True))
        except CoordinatorError as error:
            logger.info("worker.goodbye: %s", error)
