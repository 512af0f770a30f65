"""Keeps the attempts that a worker has started, from claim to end."""

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

from apps.protocol import Claim
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.coordinator import CoordinatorError

INTERRUPT_GRACE_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Running:
    """Holds one `AttemptRun` per run; a newer claim of the same run ends the older one."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._runs: dict[UUID, AttemptRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown_cancels: set[UUID] = set()
        self.changed = asyncio.Event()
        """Set when an attempt has ended."""

    def __len__(self) -> int:
        return len(self._runs)

    def runs(self) -> list[AttemptRun]:
        return list(self._runs.values())

    def begin(self, claims: Iterable[Claim]) -> None:
        """Starts claimed runs; skips a claim already started from another copy of the reply."""
        for claim in claims:
            if claim.run_id not in self._runs or self._runs[claim.run_id].attempt.claim.token != claim.token:
                self._begin(claim)

    def cancel(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            if run_id in self._runs:
                self._runs[run_id].stop("canceled")
            else:
                # Its claim was lost in transit: reporting it keeps the next poll from being answered with it at once.
                self._unknown_cancels.add(run_id)

    @property
    def cancels_seen(self) -> list[UUID]:
        return [*self._unknown_cancels, *(run_id for run_id, run in self._runs.items() if run.attempt.stop_reason)]

    def forget_unknown_cancels(self) -> None:
        self._unknown_cancels.clear()

    async def drain(self, seconds: float) -> None:
        """Lets attempts finish for a while, then interrupts them and gives them back."""
        if self._tasks:
            logger.info("worker.drain runs=%s", len(self._tasks))
            await asyncio.wait(self._tasks, timeout=seconds)
        for run in self._runs.values():
            run.stop("interrupted", INTERRUPT_GRACE_SECONDS)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=INTERRUPT_GRACE_SECONDS * 2)
        for task in self._tasks:
            task.cancel()

    def _begin(self, claim: Claim) -> None:
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
            # Nothing was started and nothing can be reported: the unconfirmed claim will be released.
            logger.warning("worker.give_up run.id=%s: %s", run.attempt.public_run_id, error)
        except Exception:
            logger.exception("worker.run run.id=%s", run.attempt.public_run_id)
        finally:
            if self._runs.get(run.attempt.claim.run_id) is run:
                del self._runs[run.attempt.claim.run_id]
            self.changed.set()
