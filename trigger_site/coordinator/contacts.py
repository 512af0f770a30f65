"""Handles a coordinator's contacts with workers: registrations, polls, heartbeats and broken connections."""

import asyncio
import logging
import time
from typing import Any
from uuid import UUID

from apps import protocol as wire
from apps.live.notify import announce_now
from apps.live.topics import WORKERS
from apps.workers import leases
from trigger_site.coordinator.database import Database, HeldError
from trigger_site.coordinator.exchange import ProblemError, Receive, disconnected
from trigger_site.coordinator.polls import Dispatcher

TOUCH_SECONDS = 1.0
"""A busy worker polls a hundred times a second; its row is written at most this often, well within SUSPECT_SECONDS."""

logger = logging.getLogger(__name__)


class Contacts:
    """Takes every message from a worker as a sign of life, and a broken connection as the opposite."""

    def __init__(self, database: Database, dispatcher: Dispatcher) -> None:
        self._database = database
        self._dispatcher = dispatcher
        self._touched_at: dict[UUID, float] = {}

    async def register(self, body: bytes) -> wire.Registered:
        registration = wire.decode(body, wire.Registration)
        ours, theirs = wire.PROTOCOL_VERSION, registration.protocol
        if ours.split(".")[0] != theirs.split(".")[0]:
            message = f"The worker speaks protocol {theirs}, this coordinator {ours}."
            raise ProblemError(409, "protocol-mismatch", message)
        await self._database.run(lambda connection: leases.register(connection, registration))
        announce_now(WORKERS, [registration.worker_id])
        return wire.Registered(wire.HEARTBEAT_SECONDS, wire.LEASE_SECONDS)

    async def poll(self, poll: wire.Poll, receive: Receive) -> wire.PollReply:
        """Holds the poll; if the connection breaks meanwhile, its worker becomes suspected."""
        if time.monotonic() - self._touched_at.get(poll.worker_id, -TOUCH_SECONDS) >= TOUCH_SECONDS:
            await self._touch(poll.worker_id)
        holding = asyncio.ensure_future(self._dispatcher.hold(poll))
        gone = asyncio.ensure_future(disconnected(receive))
        await asyncio.wait({holding, gone}, return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            gone.cancel()
            return holding.result()
        holding.cancel()
        await asyncio.wait({holding})
        await self._suspect(poll.worker_id)
        raise ConnectionResetError

    async def beat(self, body: bytes) -> wire.HeartbeatReply:
        beat = wire.decode(body, wire.Heartbeat)
        await self._touch(beat.worker_id, is_stopping=beat.is_stopping)
        if beat.is_stopping:
            self._dispatcher.release(beat.worker_id)
        if not beat.leases:
            return wire.HeartbeatReply(stale=[])
        rows = await self._renew(beat)
        return wire.HeartbeatReply(
            stale=[row.run_id for row in rows if row.is_stale],
            cancels=[row.run_id for row in rows if row.is_cancel_requested],
        )

    async def _touch(self, worker_id: UUID, *, is_stopping: bool = False) -> None:
        try:
            contact = await self._database.run(
                lambda connection: leases.touch(connection, worker_id=worker_id, is_stopping=is_stopping)
            )
        except HeldError as error:
            # The workers' table is held, which is no reason to turn a worker away.
            logger.warning("workers.touch worker.id=%s: %s", worker_id, error)
            return
        if not contact.is_known:
            raise ProblemError(404, "unknown-worker", "Register first.")
        self._touched_at[worker_id] = time.monotonic()
        if contact.has_changed:
            announce_now(WORKERS, [worker_id])

    async def _suspect(self, worker_id: UUID) -> None:
        # A stopping coordinator closes its connections itself, and a newer poll shows that the worker is alive.
        if not self._dispatcher.is_stopping and not self._dispatcher.holds_poll_of(worker_id):
            self._touched_at.pop(worker_id, None)
            logger.warning("workers.suspect worker.id=%s: its connection broke", worker_id)
            try:
                await self._dispatcher.suspect(worker_id)
            except HeldError as error:
                logger.warning("workers.suspect worker.id=%s: %s", worker_id, error)

    async def _renew(self, beat: wire.Heartbeat) -> list[Any]:
        """Returns what could be renewed and what is stale. A lease whose row is held is neither: its worker is alive,
        so it does not end."""
        rows: list[Any] = []
        try:
            rows = await self._database.run(
                lambda connection: leases.renew(connection, worker_id=beat.worker_id, leases=beat.leases)
            )
        except HeldError as error:
            logger.warning("workers.renew worker.id=%s: %s", beat.worker_id, error)
        else:
            if not any(row.is_held for row in rows):
                return rows
        await self._hold(beat.worker_id)
        return rows

    async def _hold(self, worker_id: UUID) -> None:
        try:
            if await self._database.run(lambda connection: leases.hold(connection, worker_id=worker_id)):
                return
        except HeldError as error:
            logger.warning("workers.hold worker.id=%s: %s", worker_id, error)
        await self._database.run(leases.grant_grace)
