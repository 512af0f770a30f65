"""One sentence that says why a run does not run. Pure: its caller reads the facts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.runs.fleet import Fleet
from apps.runs.states import RunState


@dataclass(frozen=True, slots=True)
class Reason:
    """`text` ends where the countdown to `until` follows; `hint` is a command that would help."""

    text: str
    until: datetime | None = None
    hint: str = ""
    is_alarming: bool = False


def waiting_reason(
    state: str,
    *,
    due_at: datetime | None,
    attempt_count: int,
    max_attempts: int,
    is_cancel_requested: bool,
    last_error_type: str = "",
    resume_key: str = "",
    fleet: Fleet | None = None,
    running_count: int = 0,
) -> Reason | None:
    """None where the run is not waiting. `fleet` and `running_count` are needed for pending runs only."""
    match RunState(state):
        case RunState.PENDING:
            return _pending(fleet or Fleet(0, 0), running_count)
        case RunState.RETRYING:
            cause = f" ({last_error_type})" if last_error_type else ""
            origin = f" after the checkpoint {resume_key}" if resume_key else " from the start"
            ahead = f"attempt {attempt_count + 1} of {max_attempts} goes on{origin}"
            return Reason(f"Attempt {attempt_count} did not complete{cause}: {ahead}", until=due_at)
        case RunState.DELAYED:
            return Reason("Delayed: it becomes pending", until=due_at)
        case RunState.WAITING:
            return Reason("It waits on purpose and holds no worker.", until=due_at)
        case RunState.RUNNING if is_cancel_requested:
            return Reason("Cancellation was requested: the task has 10 s to clean up, then it is killed.")
    return None


def _pending(fleet: Fleet, running_count: int) -> Reason:
    if fleet.worker_count == 0:
        text = "No worker is connected, so nothing can start. Start one:"
        return Reason(text, hint="python manage.py runworker", is_alarming=True)
    if running_count >= fleet.slot_count:
        workers = "the worker" if fleet.worker_count == 1 else f"{fleet.worker_count} workers"
        slots = "slot" if fleet.slot_count == 1 else "slots"
        return Reason(
            f"Waiting for a free slot: {workers} with {fleet.slot_count} {slots} executes {running_count} runs."
        )
    return Reason("It is next: a worker with a free slot takes it within moments.")
