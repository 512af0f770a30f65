"""Serves a running task's saves and loads, each answered on its own connection."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from apps.protocol import CHECKPOINTS, CheckpointItem, Result
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.headers import CheckpointHeader, LoadHeader
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.coordinator import CallRefusedError, CoordinatorError
from apps.workers.node.hosts.roles import ChildConnection
from apps.workers.node.outbox import BACKOFF_SECONDS

OK = 200

logger = logging.getLogger(__name__)


class Requests:
    """Tracks the requests in progress of one attempt; `judge` is told about refused ones."""

    def __init__(
        self, attempt: Attempt, tools: Tools, *, judge: Callable[[Result], None], has_ended: Callable[[], bool]
    ) -> None:
        self._attempt = attempt
        self._tools = tools
        self._judge = judge
        self._has_ended = has_ended
        self._tasks: set[asyncio.Task[None]] = set()

    def save(self, child: ChildConnection, header: CheckpointHeader, body: bytes) -> None:
        # Counted before the work begins, so that frames that arrive together are not read beyond the bound.
        child.begin_answer(len(body))
        self.spawn(self._save(child, header, body))

    def load(self, child: ChildConnection, header: LoadHeader) -> None:
        """Loads the result of a step that was only named at the start."""
        child.begin_answer()
        self.spawn(self._load(child, header))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts further work that the attempt's end waits for."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def wait(self) -> None:
        """Waits until everything now in progress is done."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _save(self, child: ChildConnection, header: CheckpointHeader, body: bytes) -> None:
        claim = self._attempt.claim
        item = CheckpointItem(
            run_id=claim.run_id,
            token=claim.token,
            key=header.key,
            data=body[: header.data_bytes],
            binds=header.binds,
            carried=body[header.data_bytes :] or None,
            kind=header.kind,
            codec=header.codec,
            duration_seconds=header.duration_seconds,
        )
        try:
            result = await self._tools.outbox.submit(CHECKPOINTS, item)
        finally:
            child.end_answer(len(body))
        if result.status == OK:
            child.send("saved", sequence=header.sequence, index=result.index)
        else:
            child.send("refused", sequence=header.sequence, code=result.code, message=result.message)
            self._judge(result)

    async def _load(self, child: ChildConnection, header: LoadHeader) -> None:
        """Answers a load; waits while the coordinator is away."""
        sequence, index = header.sequence, header.index
        claim, (delay, longest) = self._attempt.claim, BACKOFF_SECONDS
        try:
            while not self._has_ended():
                try:
                    data = await self._tools.load_data(claim.run_id, claim.token, index)
                except CallRefusedError as error:
                    child.send("refused", sequence=sequence, code=error.kind, message=str(error))
                    return self._judge(Result(error.status, error.kind))
                except CoordinatorError as error:
                    logger.warning("worker.load run.id=%s: %s; again in %.1f s", claim.public_id, error, delay)
                    await asyncio.sleep(delay)
                    delay = min(longest, delay * 2)
                else:
                    return child.send("loaded", data or b"", sequence=sequence, is_found=data is not None)
        finally:
            child.end_answer()

    def _forget(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("worker.write run.id=%s: %s", self._attempt.public_run_id, error, exc_info=error)
