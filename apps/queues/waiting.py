"""Says why a run is not running: one query and one sentence, judged in the same order as a claim. Changes nothing.

It describes a snapshot; the claim itself counts under its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings

from apps.queues.claim.rates import parse_rate
from apps.runs.fleet import ANSWERS_WITHIN
from apps.runs.retry import COOLING_FROM
from apps.runs.states import RunState
from apps.runs.waiting import Reason
from apps.storage.ids import public_id
from apps.storage.statements import statement

BLOCKING_SHOWN = 5
AHEAD_LIMIT = 1000

WAITING_FACTS = statement(__file__, "waiting_facts")


class QueueReasons:
    """See `apps.runs.waiting`."""

    def reason(self, run_id: UUID) -> Reason | None:
        rows = WAITING_FACTS.run(
            run_id=run_id,
            shown_limit=BLOCKING_SHOWN,
            ahead_limit=AHEAD_LIMIT + 1,
            answers_seconds=int(ANSWERS_WITHIN.total_seconds()),
        )
        return reason_of(rows[0]) if rows else None


def reason_of(facts: Any) -> Reason | None:
    """`facts` is a row of `waiting_facts.sql`; None if the run is not waiting."""
    match facts.state:
        case RunState.PENDING:
            return next(filter(None, (judge(facts) for judge in JUDGES)), NEXT)
        case RunState.RETRYING:
            return _retrying(facts)
        case RunState.DELAYED:
            return Reason("delayed", "Delayed: it becomes pending", until=facts.due_at)
        case RunState.WAITING:
            return Reason("waiting", "It waits on purpose and holds no worker.", until=facts.due_at)
    return None


def _retrying(facts: Any) -> Reason:
    cause = f" ({facts.error_type})" if facts.error_type else ""
    origin = f" after the checkpoint {facts.resume_key}" if facts.resume_key else " from the start"
    ahead = f"attempt {facts.attempt_count + 1} of {facts.attempt_limit} continues{origin}"
    return Reason("retrying", f"Attempt {facts.attempt_count} did not complete{cause}: {ahead}", until=facts.due_at)


def _stopped(facts: Any) -> Reason | None:
    """The reason if people or deployments have stopped the run."""
    if facts.is_retired and facts.is_unbound:
        text = f"The task {facts.task_id} is retired: the newest deployment of its task set does not have it."
        return Reason("task_retired", text, is_alarming=True)
    if facts.is_over:
        return Reason("expired", "Its time to live ended before it started: it is about to expire.")
    if facts.is_queue_paused:
        return Reason("queue_paused", f"The queue {facts.queue} is paused.", is_alarming=True)
    if facts.is_task_paused:
        return Reason("task_paused", f"The task {facts.task_id} is paused.", is_alarming=True)
    return None


def _cooling(facts: Any) -> Reason | None:
    if facts.cooling_until is not None and facts.cooling_until > facts.now:
        text = (
            f"The task is cooling down because {facts.failing_count} of its runs have failed in a row: "
            "the next one is tried"
        )
        return Reason("cooling_down", text, until=facts.cooling_until, is_alarming=True)
    if facts.failing_count >= COOLING_FROM and facts.is_probing:
        text = (
            f"The task is cooling down because {facts.failing_count} of its runs have failed in a row: "
            "one run at a time is tried, and one is running now; the next one is tried when it ends, or at the latest"
        )
        probe = _ids([facts.probe_run])
        return Reason("cooling_down", text, until=facts.probe_until, blocking_runs=probe, is_alarming=True)
    return None


def _full(facts: Any) -> Reason | None:
    key = f"the key {facts.concurrency_key}" if facts.concurrency_key else "runs without a key"
    words = {
        "queue": f"the queue {facts.queue}",
        "task": f"the task {facts.task_id}",
        "key": f"the task {facts.task_id} and {key}" if facts.concurrency_key else f"the task {facts.task_id}",
    }
    for scope, what in words.items():
        limit, running = getattr(facts, f"{scope}_limit"), getattr(facts, f"{scope}_running")
        if limit is not None and running >= limit:
            verb = "is" if running == 1 else "are"
            text = f"The limit for {what} is {limit:,} at once, and {running:,} {verb} running now."
            return Reason(f"{scope}_limit", text, blocking_runs=_ids(getattr(facts, f"{scope}_runs")))
    return None


def _too_fast(facts: Any) -> Reason | None:
    words = {
        "queue": f"the queue {facts.queue}",
        "task": f"the task {facts.task_id}",
        "key": f"the task {facts.task_id} and the key {facts.concurrency_key}".removesuffix(" and the key "),
    }
    slowest: Reason | None = None
    for scope, what in words.items():
        text, ahead = getattr(facts, f"{scope}_rate"), getattr(facts, f"{scope}_ahead")
        if text is None or parse_rate(text).room(ahead):
            continue
        until = facts.now + timedelta(seconds=parse_rate(text).wait_seconds(ahead))
        if slowest is None or slowest.until is None or until > slowest.until:
            slowest = Reason("rate_limit", f"The rate limit for {what} is {text}: the next one may start", until=until)
    return slowest


def _no_slot(facts: Any) -> Reason | None:
    if facts.worker_count == 0:
        text = "No worker is connected, so nothing can start. Start one:"
        return Reason("no_worker", text, hint=f"{settings.PYTHON_COMMAND} manage.py runworker", is_alarming=True)
    if facts.running_count >= facts.slot_count:
        workers = "the worker" if facts.worker_count == 1 else f"{facts.worker_count} workers"
        slots, runs = "slot" if facts.slot_count == 1 else "slots", "run" if facts.running_count == 1 else "runs"
        verb = "is" if facts.worker_count == 1 else "are"
        text = (
            f"Waiting for a free slot: {workers} with {facts.slot_count} {slots} {verb} executing "
            f"{facts.running_count} {runs}."
        )
        return Reason("no_free_slot", text)
    return None


def _in_line(facts: Any) -> Reason | None:
    if not facts.ahead_count:
        return None
    count = f"More than {AHEAD_LIMIT:,}" if facts.ahead_count > AHEAD_LIMIT else f"{facts.ahead_count:,}"
    runs = "run is" if facts.ahead_count == 1 else "runs are"
    return Reason("in_line", f"{count} {runs} ahead of it in the queue {facts.queue}.")


JUDGES: Sequence[Callable[[Any], Reason | None]] = (_stopped, _cooling, _full, _too_fast, _no_slot, _in_line)
NEXT = Reason("next", "It is next: a worker with a free slot takes it within moments.")


def _ids(run_ids: Sequence[UUID]) -> list[str]:
    return [public_id("run", run_id) for run_id in run_ids]
