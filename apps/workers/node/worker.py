"""Runs one node's worker: registers, polls for runs, keeps their leases, and drains on SIGTERM."""

import asyncio
import logging
import signal
from uuid import uuid4

from apps import protocol as wire
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.config import Config
from apps.workers.node.coordinator import CallRefusedError, Coordinator, CoordinatorError
from apps.workers.node.deployments import Deployments
from apps.workers.node.executors.base import Executor
from apps.workers.node.leases import LeaseKeeper
from apps.workers.node.outbox import Outbox
from apps.workers.node.polls import POLL_BACKOFF_SECONDS, Polls
from apps.workers.node.running import Running
from apps.workers.node.variables import VariableSource

logger = logging.getLogger(__name__)


class Worker:
    """Assembles a node's parts; `run` returns when it has drained."""

    def __init__(self, config: Config, coordinator: Coordinator, executor: Executor) -> None:
        self.id = uuid4()
        self._config = config
        self._coordinator = coordinator
        self._executor = executor
        tools = Tools(
            deployments=Deployments(coordinator),
            variables=VariableSource(coordinator, config.dotenv_folder),
            executor=executor,
            outbox=Outbox(coordinator.write),
            load_checkpoints=coordinator.stored_checkpoints,
            load_data=coordinator.stored_data,
        )
        self._running = Running(tools)
        self._polls = Polls(
            self.id, coordinator, self._running,
            concurrency=config.concurrency, register=self._register, fail=self._fail,
        )  # fmt: skip
        self._leases = LeaseKeeper(self.id, coordinator, self._running, register=self._register)
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._register()
        loops = [
            asyncio.create_task(work)
            for work in (self._polls.keep_open(), self._leases.beat_forever(), self._leases.watch_forever())
        ]
        stopping = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({*loops, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            self._failure = task.exception()  # a loop ends only by an error
            self.stop()
        await self._running.drain(self._config.drain_seconds)
        for task in (*loops, stopping):  # a poll or beat after the goodbye would undo it
            task.cancel()
        await self._leases.say_goodbye()
        await self._polls.close()
        await asyncio.gather(*loops, stopping, return_exceptions=True)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begins to drain."""
        self._stopping.set()
        self._polls.stop()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self.stop()

    async def _register(self) -> None:
        """Registers this worker; waits for a coordinator that is not up yet."""
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
                # When all processes start together, a coordinator missing for a second or two is not worth a log line.
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
