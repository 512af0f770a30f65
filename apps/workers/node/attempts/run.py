"""Runs one attempt from its claim to its acknowledged finish: place, process, writes, limits and verdict."""

import asyncio
import logging
import time
from typing import Any

import msgspec
from trigger_sdk.wire import Frame, encode_frame

from apps import protocol as wire
from apps.workers.node.attempts.attempt import Attempt, storable
from apps.workers.node.attempts.headers import CheckpointHeader, LoadHeader, header_of
from apps.workers.node.attempts.logs import LogBuffer
from apps.workers.node.attempts.reads import read_for
from apps.workers.node.attempts.requests import OK, Requests
from apps.workers.node.attempts.restore import last_point, options_of, start_frame, stored_frame
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.coordinator import CallRefusedError, CoordinatorError
from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.base import RunPlace, StartFailedError
from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.hosts.host import HostError
from apps.workers.node.hosts.roles import ChildConnection
from apps.workers.node.variables import VariablesUnavailableError

STOP_GRACE_SECONDS = 10.0
CHILD_CONNECT_SECONDS = 60.0
KEY_MAX_LENGTH = 200
LEASE_REASONS = ("stale", "expired")
"""To the task both are the same: it must stop acting."""

GO = encode_frame("go")
UNSTORABLE = (413, 422)
TELL_START_SECONDS = 0.05
"""A run that ends sooner reports its start with its finish."""

logger = logging.getLogger(__name__)


class AttemptRun:
    """Implements `RunListener` for one attempt."""

    def __init__(self, attempt: Attempt, tools: Tools) -> None:
        self.attempt = attempt
        self._tools = tools
        self._place: RunPlace | None = None
        self._ticket = ""
        self._ended: asyncio.Future[ProcessEnd] = asyncio.get_running_loop().create_future()
        self._log = LogBuffer(attempt, tools.outbox)
        self._requests = Requests(attempt, tools, judge=self._judge, has_ended=lambda: self._ended.done())
        self._limit: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._is_overdue = False
        self._connecting: asyncio.TimerHandle | None = None
        self._next_page: int | None = None
        """The index after which the remaining pages for the process start."""
        self._child: ChildConnection | None = None
        self._has_spoken = False

    async def run(self) -> None:
        """Returns when the finish is acknowledged, or when the attempt proves to be no longer this worker's."""
        try:
            finish = await self._verdict()
            if self.attempt.stop_reason != "stale":
                await self._log.flush()
                await self._deliver(finish)
        finally:
            await self._give_back()

    async def _verdict(self) -> wire.Finish:
        try:
            return await self._execute()
        except CoordinatorError:
            raise
        except (StartFailedError, DeploymentError, HostError, VariablesUnavailableError) as error:
            return self._start_failure(str(error))
        except Exception as error:
            # Without an end the run would be claimed and fail the same way for ever, and its page would not say why.
            logger.exception("worker.run run.id=%s", self.attempt.public_run_id)
            return self._start_failure(f"{type(error).__name__}: {error}")
        finally:
            if self._limit is not None:
                self._limit.cancel()

    async def _deliver(self, finish: wire.Finish) -> None:
        result = await self._tools.outbox.submit(wire.FINISHES, finish)
        if result.status in UNSTORABLE and finish.outcome == "completed":
            error = {"type": "OutputRefused", "message": f"The output cannot be stored: {result.message}", "stack": ""}
            # No later attempt could end differently, and the task's effects must not be repeated.
            failed = msgspec.structs.replace(finish, outcome="failed", output=None, error=error, is_abort=True)
            result = await self._tools.outbox.submit(wire.FINISHES, failed)
        if result.status != OK:
            if self._place is not None:
                self._place.is_reusable = False
            logger.warning("worker.finish_refused run.id=%s: %s", self.attempt.public_run_id, result.message)

    def stop(self, reason: str, grace_seconds: float = STOP_GRACE_SECONDS) -> None:
        """Ends the attempt for one of the reasons in `Attempt.stop_reason`. The first reason wins, unless the lease is
        lost later."""
        if self.attempt.stop_reason and reason not in LEASE_REASONS:
            return
        self.attempt.stop_reason = reason
        if self._place is not None and self._ticket:
            self._place.host.stop(self._ticket, "stale" if reason in LEASE_REASONS else reason, grace_seconds)

    async def _execute(self) -> wire.Finish:
        claim = self.attempt.claim
        deployment = await read_for(self.attempt, self._tools.deployments.get, claim.deployment_id)
        self.attempt.options = options_of(deployment, claim)
        self.attempt.variables = await read_for(
            self.attempt, self._tools.variables.get, deployment, claim.variables_version
        )
        if claim.has_checkpoints:
            page = await read_for(self.attempt, self._tools.load_checkpoints, claim.run_id, claim.token)
            self.attempt.stored, self._next_page = page.items, page.next_after
        end = await self._run_process(deployment)
        while self._place is not None and self._place.is_warm and self._is_unbegun(end):
            # The kept process died between two runs, or as this one arrived: not the run's fault, none of its code ran.
            await self._give_back()
            self._forget_beginning()
            end = await self._run_process(deployment)
        await self._requests.wait()
        if end.is_unstarted:
            raise HostError(end.note)
        if self._is_overdue and self.attempt.begun_at is None:
            raise HostError(f"The task's process did not begin within {CHILD_CONNECT_SECONDS:g} s.")
        return self.attempt.finish(end)

    async def _run_process(self, deployment: wire.DeploymentReply) -> ProcessEnd:
        """Gives the attempt a process and waits for it to end."""
        claim, attempt = self.attempt.claim, self.attempt
        name = f"{attempt.public_run_id}-{claim.attempt}"
        place = await self._tools.executor.acquire(deployment, claim.task, attempt.options, name, attempt.variables)
        self._place = place
        attempt.container, attempt.start_kind = place.container, place.start_kind
        if attempt.stop_reason:
            return ProcessEnd(note="It was stopped before its process started.")
        self._ended = asyncio.get_running_loop().create_future()
        if place.is_warm:
            self._ticket = place.ticket
            place.host.resume(place.ticket, self)
        else:
            self._ticket = place.ticket = place.host.run(
                attempt.public_run_id, place.folder, self, is_kept=place.pool_key is not None
            )
        self._expect_begin()
        try:
            end = await self._ended
        finally:
            if self._connecting is not None:
                self._connecting.cancel()
        # A process that goes idle without a result has not done its job.
        place.is_reusable = end.is_kept and attempt.output is not None and not attempt.stop_reason
        return end

    def _expect_begin(self) -> None:
        """Restarts the time limit within which the process must begin, or at least make progress towards it."""
        if self._connecting is not None:
            self._connecting.cancel()
        self._connecting = asyncio.get_running_loop().call_later(CHILD_CONNECT_SECONDS, self._give_up_waiting)

    def _is_unbegun(self, end: ProcessEnd) -> bool:
        """Whether a kept process was gone before it had read its order."""
        is_read = self._has_spoken or self._child is None or not self._child.has_left_unread
        return not (end.is_kept or is_read or self.attempt.stop_reason)

    def _forget_beginning(self) -> None:
        self.attempt.begun_at = None
        for timer in (self._limit, self._telling):
            if timer is not None:
                timer.cancel()

    async def _give_back(self) -> None:
        if self._place is not None:
            place, self._place, self._ticket = self._place, None, ""
            await self._tools.executor.release(place)

    def _start_failure(self, reason: str) -> wire.Finish:
        claim = self.attempt.claim
        error = {"type": "StartFailed", "message": self.attempt.variables.masked(reason), "stack": ""}
        if self.attempt.stop_reason == "canceled":
            return wire.Finish(claim.run_id, claim.token, "canceled")
        return wire.Finish(
            claim.run_id, claim.token, "start_failed", error=error, container=self.attempt.container or None
        )

    def _give_up_waiting(self) -> None:
        if self.attempt.begun_at is None and self._place is not None:
            self._is_overdue = not self.attempt.stop_reason
            self._place.host.stop(self._ticket, "interrupted", 0.0)
            # An agent that never got the order to start it will not report its end either.
            unheard = ProcessEnd(note="The agent reported nothing about the task's process.")
            asyncio.get_running_loop().call_later(STOP_GRACE_SECONDS, self.ended, unheard)

    # Calls from the host (RunListener).

    def connected(self, child: ChildConnection) -> None:
        """Sends the payload and the saved state to the process, which has shown its ticket."""
        assert self._place is not None
        claim, attempt, place = self.attempt.claim, self.attempt, self._place
        # A process that has the code loaded only has to read before its run: it need not report its beginning.
        is_begun = place.is_warm or place.host.can_fork
        self._child = child
        first = [start_frame(claim, place.folder, is_begun=is_begun), *map(stored_frame, attempt.stored)]
        point = last_point(attempt.stored, None)
        if self._next_page is None:
            child.tell([*first, GO])
            if is_begun:
                self._begin(point)
        else:
            child.tell(first)
            self._requests.spawn(self._send_pages(child, self._next_page, point, is_begun=is_begun))
        if not place.is_warm:
            attempt.stored = []  # the process has them now; a second copy here would double the memory

    async def _send_pages(self, child: ChildConnection, after: int, point: str | None, *, is_begun: bool) -> None:
        """Sends the pages after the first, fetching each when the process has read most of the previous one."""
        claim = self.attempt.claim
        next_after: int | None = after
        while next_after is not None:
            await child.wait_read()
            if child.is_lost or self._ended.done():
                return
            self._expect_begin()  # a long restore is not silence
            try:
                page = await read_for(self.attempt, self._tools.load_checkpoints, claim.run_id, claim.token, next_after)
            except CallRefusedError as error:
                self._judge(wire.Result(error.status, error.kind))
                return
            child.tell([stored_frame(stored) for stored in page.items])
            point, next_after = last_point(page.items, point), page.next_after
        child.tell([GO])
        if is_begun:
            self._begin(point)

    def started(self, pid: int, kind: str) -> None:
        logger.debug("worker.start run.id=%s pid=%s kind=%s", self.attempt.public_run_id, pid, kind)

    def output(self, header: dict[str, Any]) -> None:
        self._log.add(self.attempt.variables.masked_frame(header))

    def frame(self, child: ChildConnection, frame: Frame) -> None:
        self._has_spoken = True
        if frame.type == "checkpoint":
            self._requests.save(child, header_of(frame, CheckpointHeader), frame.body)
        elif frame.type == "load":
            self._requests.load(child, header_of(frame, LoadHeader))
        elif frame.type == "log":
            self.output(frame.header)
        elif frame.type == "begun":
            self._begin(frame.header.get("resumed_from"))
        elif frame.type == "completed" and self.attempt.failure is None:
            self.attempt.output = frame.body
        elif frame.type == "failed" and self.attempt.output is None:
            self.attempt.failure = self.attempt.variables.masked_frame(frame.header)

    def broke_off(self, reason: str) -> None:
        """Ends a run whose process sent something that is not a frame: nothing it sends can be trusted now."""
        self.attempt.breach = self.attempt.breach or f"The task's process broke the worker's protocol: {reason}."
        if self._place is not None and self._ticket:
            self._place.host.stop(self._ticket, "stale", 0.0)

    def ended(self, end: ProcessEnd) -> None:
        if self._telling is not None:
            self._telling.cancel()
        if not self._ended.done():
            self._ended.set_result(end)

    def _begin(self, resumed_from: Any) -> None:
        if self.attempt.begun_at is not None:
            return
        self.attempt.begun_at = time.monotonic()
        self.attempt.resumed_from = None if resumed_from is None else storable(resumed_from)[:KEY_MAX_LENGTH]
        loop = asyncio.get_running_loop()
        self._limit = loop.call_later(self.attempt.options.max_duration_seconds, self.stop, "timed_out")
        self._telling = loop.call_later(TELL_START_SECONDS, lambda: self._requests.spawn(self._tell_start()))

    async def _tell_start(self) -> None:
        attempt = self.attempt
        assert attempt.begun_at is not None
        attempt.stored = []
        result = await self._tools.outbox.submit(
            wire.STARTS,
            wire.Start(
                run_id=attempt.claim.run_id,
                token=attempt.claim.token,
                container=attempt.container,
                start_kind=attempt.start_kind,
                running_seconds=time.monotonic() - attempt.begun_at,
                resumed_from=attempt.resumed_from,
            ),
        )
        self._judge(result)

    def _judge(self, result: wire.Result) -> None:
        """Stops the process if the token is stale: the run has continued elsewhere."""
        if result.code == "stale" and not self._ended.done() and self.attempt.output is None:
            self.stop("stale", 0.0)
