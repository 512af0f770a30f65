"""Holds polls: a worker asks for runs and cancels, and is answered as soon as there are any. Ends no lease itself."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from apps.live.notify import announce_now
from apps.live.topics import RUNS, WORKERS
from apps.protocol import CONFIRM_SECONDS, POLL_SECONDS, UNKNOWN_VERSION, Claim, Poll, PollReply
from apps.queues.claim import claimer as claims
from apps.storage.ids import public_id
from apps.workers import leases, variables
from trigger_site.coordinator.database import Connection, Database, DatabaseAwayError, HeldError

SWEEP_SECONDS = 1.0
"""How often due runs are promoted and tables are read without a notification: a lost one costs at most this."""

CLAIM_LIMIT = 500

HELD_PAUSE_SECONDS = 0.1
"""The pause before the next claim if another transaction held what the last one needed."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Waiter:
    """One held poll."""

    poll: Poll
    capacity: int
    reply: "asyncio.Future[PollReply]" = field(repr=False)
    is_claiming: bool = False
    is_ending: bool = False
    """Must be answered with nothing as soon as the claim in progress for it has brought nothing."""
    successor: "Waiter | None" = field(default=None, repr=False)

    @property
    def is_open(self) -> bool:
        return not self.reply.done()

    def answer(self, reply: PollReply) -> None:
        if self.is_open:
            self.reply.set_result(reply)

    def end(self) -> None:
        """Answers with nothing, but loses nothing that is being claimed for it right now."""
        self.is_ending = True
        if not self.is_claiming:
            self.answer(PollReply())

    def claimed(self, claims: list[Claim]) -> None:
        """Ends a claim for this poll; its unused capacity goes to the poll that replaced it."""
        self.is_claiming = False
        if self.successor is not None:
            self.successor.capacity += self.capacity - len(claims)
        if claims or self.is_ending:
            self.answer(PollReply(claims=claims))


class Dispatcher:
    """Claims for this coordinator's held polls, one at a time, in order of arrival."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiters: list[Waiter] = []
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._is_cancel_due = False
        self._is_promotion_due = False
        self._swept_at = -SWEEP_SECONDS
        self._claimer = claims.Claimer()
        self._alarm: asyncio.TimerHandle | None = None
        self._suspected: set[UUID] = set()
        """Workers suspected since suspicions were last cleared."""

    def wake(self, *, is_cancel: bool = False) -> None:
        """Announces that something may have become pending, or must be canceled."""
        self._is_cancel_due = self._is_cancel_due or is_cancel
        self._wake.set()

    def stop(self) -> None:
        """Answers every held poll with nothing, so that workers go to another coordinator."""
        self._is_stopping = True
        for waiter in self._waiters:
            waiter.end()
        self._wake.set()

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def holds_poll_of(self, worker_id: UUID) -> bool:
        return any(waiter.poll.worker_id == worker_id and waiter.is_open for waiter in self._waiters)

    async def hold(self, poll: Poll) -> PollReply:
        """Returns the answer to a poll, after POLL_SECONDS at the latest; a worker's newer poll ends its older one."""
        if poll.is_repeat:
            rows = await self._database.run(partial(_repeat, poll=poll))
            if rows:
                return PollReply(claims=await self._claims_of(rows))
        waiter = Waiter(poll, poll.capacity, asyncio.get_running_loop().create_future())
        self._supersede(waiter)
        self._waiters.append(waiter)
        self._wake.set()
        if self._is_stopping:
            waiter.end()
        try:
            await asyncio.wait({waiter.reply}, timeout=POLL_SECONDS)
            while waiter.is_open and waiter.is_claiming:
                # What is being claimed for this poll must not be lost to its timeout.
                await asyncio.wait({waiter.reply}, timeout=SWEEP_SECONDS)
            waiter.answer(PollReply())
            return waiter.reply.result()
        finally:
            waiter.reply.cancel()
            self._waiters.remove(waiter)

    def _supersede(self, newer: Waiter) -> None:
        """Ends the worker's older polls; deducts from the new one's capacity what they may be claiming now."""
        for older in self._waiters:
            if older.poll.worker_id == newer.poll.worker_id and older.is_open:
                if older.is_claiming and older.successor is None:
                    older.successor = newer
                    newer.capacity -= older.capacity
                older.end()

    async def suspect(self, worker_id: UUID) -> None:
        """Notes that the worker's connection broke: its leases end unless it comes back."""
        self._suspected.add(worker_id)
        await self._database.run(partial(leases.suspect, worker_id=worker_id))
        announce_now(WORKERS, [worker_id])

    def release(self, worker_id: UUID) -> None:
        """Answers the polls of a stopping worker, so that their end does not count as a broken connection."""
        for waiter in self._waiters:
            if waiter.poll.worker_id == worker_id:
                waiter.end()

    async def run(self) -> None:
        """Serves the held polls until `stop`; a database that is away fails only the held polls."""
        while not self._is_stopping:
            try:
                await asyncio.wait_for(self._wake.wait(), SWEEP_SECONDS)
            except TimeoutError:
                logger.debug("coordinator.sweep")
            self._wake.clear()
            if not self._waiters:
                continue
            try:
                await self._serve()
            except DatabaseAwayError as error:
                for waiter in self._waiters:
                    if waiter.is_open:
                        waiter.reply.set_exception(error)
            except HeldError as error:
                logger.warning("coordinator.dispatch: %s", error)
                self._wake_in(HELD_PAUSE_SECONDS)
            except Exception:
                logger.exception("coordinator.dispatch")

    async def _serve(self) -> None:
        if self._is_cancel_due or time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._is_cancel_due, self._swept_at = False, time.monotonic()
            self._is_promotion_due = True
            await self._clear_suspicions()
            await self._answer_cancels()
        if self._is_promotion_due:
            await self._promote()
        hungry = [waiter for waiter in self._waiters if waiter.is_open and waiter.capacity > 0]
        if not hungry:
            return
        for waiter in hungry:
            if not waiter.is_open:
                continue
            waiter.is_claiming = True
            found: list[Claim] = []
            try:
                claimed = await self._database.run(partial(self._claim, waiter=waiter))
                found = await self._claims_of(claimed.rows)
            finally:
                waiter.claimed(found)
            if claimed.again_in_seconds is not None:
                self._wake_in(claimed.again_in_seconds)
            if not found:
                return
            announce_now(RUNS, (claim.run_id for claim in found))

    async def _claims_of(self, rows: Sequence[Any]) -> list[Claim]:
        """The claims as their worker gets them. Read after the claim's lock, so that nobody waits for it."""
        if not rows:
            return []
        ids = {row.deployment_id for row in rows}
        try:
            found = await self._database.run(lambda c: variables.versions(c, deployment_ids=ids))
        except HeldError as error:
            logger.warning("workers.variable_versions: %s", error)
            found = dict.fromkeys(ids, UNKNOWN_VERSION)
        return [_claim_of(row, found.get(row.deployment_id, "")) for row in rows]

    async def _claim(self, connection: Connection, waiter: Waiter) -> claims.Claimed:
        try:
            return await self._claimer.claim(
                connection,
                worker_id=waiter.poll.worker_id,
                poll_id=waiter.poll.poll_id,
                limit=min(waiter.capacity, CLAIM_LIMIT),
                confirm_seconds=CONFIRM_SECONDS,
            )
        except claims.PollAnsweredError:
            # Its other copy has the same answer; if that has ended meanwhile, there is nothing left to say.
            waiter.is_ending = True
            return claims.Claimed(await _repeat(connection, waiter.poll))

    def _wake_in(self, seconds: float) -> None:
        """Wakes later for what no notification announces, unless the sweep comes sooner."""
        if seconds < SWEEP_SECONDS:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm = asyncio.get_running_loop().call_later(seconds, self._wake.set)

    async def _promote(self) -> None:
        self._is_promotion_due = False
        await self._database.run(claims.promote_due)
        seconds = await self._database.run(claims.next_due_seconds)
        if seconds is not None and seconds < SWEEP_SECONDS:
            asyncio.get_running_loop().call_later(seconds, self._promote_soon)

    def _promote_soon(self) -> None:
        self._is_promotion_due = True
        self._wake.set()

    async def _clear_suspicions(self) -> None:
        """Clears suspicions: a held poll is a contact, and another coordinator's suspicion may have overtaken it."""
        self._suspected.clear()
        workers = {waiter.poll.worker_id for waiter in self._waiters if waiter.is_open}
        try:
            cleared = await self._database.run(lambda c: leases.clear_suspicions(c, worker_ids=list(workers)))
            for worker_id in self._suspected & workers:
                # Its connection broke after its poll was counted: what was noted of it is cleared, or was left out.
                await self._database.run(partial(leases.suspect, worker_id=worker_id))
            announce_now(WORKERS, cleared)
        except HeldError as error:
            # Claims do not need the workers' table.
            logger.warning("workers.clear_suspicions: %s", error)

    async def _answer_cancels(self) -> None:
        workers = {waiter.poll.worker_id for waiter in self._waiters if waiter.is_open}
        rows = await self._database.run(lambda c: leases.requested_cancels(c, worker_ids=list(workers)))
        for waiter in self._waiters:
            seen = set(waiter.poll.cancels_seen)
            unseen = [r.run_id for r in rows if r.worker_id == waiter.poll.worker_id and r.run_id not in seen]
            if unseen:
                waiter.answer(PollReply(cancels=unseen))


async def _repeat(connection: Connection, poll: Poll) -> list[Any]:
    return await claims.repeat(
        connection, worker_id=poll.worker_id, poll_id=poll.poll_id, confirm_seconds=CONFIRM_SECONDS
    )


def _claim_of(row: Any, variables_version: str) -> Claim:
    shown = public_id("run", row.run_id)
    return Claim(
        run_id=row.run_id,
        public_id=shown,
        attempt=row.attempt,
        token=row.token,
        task=row.task_id,
        deployment_id=row.deployment_id,
        payload=row.payload.encode(),
        max_attempts=row.max_attempts,
        has_checkpoints=row.has_checkpoints,
        scope=shown if row.scope == row.run_id else public_id("run", row.scope),
        has_run_out_of_memory=row.has_run_out_of_memory,
        variables_version=variables_version,
    )
