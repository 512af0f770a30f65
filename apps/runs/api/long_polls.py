"""Waiting for a run to end, for many callers at once: none holds a thread or a database connection meanwhile."""

import time
from uuid import UUID

from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connection, connections

from apps.live.hub import hub
from apps.live.topics import RUNS
from apps.runs.models import Run
from apps.runs.states import FINAL_STATES

POLL_SECONDS = 1.0
"""A lost notification costs at most this."""


async def wait_until_final(run_id: UUID, *, seconds: float) -> None:
    """Returns when the run is final, is gone, or the time is over; the caller reads it then."""
    deadline = time.monotonic() + seconds
    async with hub().subscribed(RUNS.topic(run_id)) as changes:
        while not await _has_ended(run_id):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            await changes.wait(min(POLL_SECONDS, remaining))
            changes.take()


async def release_thread() -> None:
    """Gives back what the synchronous parts of this request hold: a pooled connection and a thread of their own."""
    await sync_to_async(connections.close_all)()
    context = SyncToAsync.thread_sensitive_context.get(None)
    executor = None if context is None else SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.shutdown(wait=False)


async def _has_ended(run_id: UUID) -> bool:
    # In the loop's shared threads: the request's own one would live as long as the request.
    return await sync_to_async(_read_has_ended, thread_sensitive=False)(run_id)


def _read_has_ended(run_id: UUID) -> bool:
    try:
        state = Run.objects.filter(id=run_id).values_list("state", flat=True).first()
    finally:
        connection.close()  # a thread that outlives the request must not keep it
    return state is None or state in FINAL_STATES
