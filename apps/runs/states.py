"""The states of a run and the outcomes of an attempt, with what each one means. Pure values; no rows."""

from django.db.models import TextChoices


class RunState(TextChoices):
    DELAYED = "delayed"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    WAITING = "waiting"
    COMPLETED = "completed"
    DEAD_LETTER = "dead_letter", "dead letter"
    DISCARDED = "discarded"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


def state_words(state: str) -> str:
    """The state in words, such as `dead letter`; a state unknown to this version is named as it is stored."""
    return RunState(state).label.lower() if state in RunState else state


FINAL_STATES = frozenset(
    {RunState.COMPLETED, RunState.DEAD_LETTER, RunState.DISCARDED, RunState.CANCELED, RunState.EXPIRED}
)
PASSED_STATES = (RunState.PENDING, RunState.RUNNING, RunState.COMPLETED)
"""The states of every run that goes well."""

DUE_STATES = frozenset({RunState.DELAYED, RunState.RETRYING, RunState.WAITING})
CANCELABLE_AT_ONCE = frozenset({RunState.DELAYED, RunState.PENDING, RunState.RETRYING, RunState.WAITING})


class Outcome(TextChoices):
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out", "timed out"
    OUT_OF_MEMORY = "out_of_memory", "out of memory"
    CRASHED = "crashed"
    LOST = "lost"
    START_FAILED = "start_failed", "start failed"
    CANCELED = "canceled"
    SUSPENDED = "suspended"
    RELEASED = "released"


BUDGET_OUTCOMES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.CRASHED})
"""The outcomes that count against `max_attempts`; the platform's own faults use up nobody's budget."""

KILL_OUTCOMES = frozenset({Outcome.CRASHED, Outcome.LOST})
"""The outcomes that make a poison run when three occur in a row without a new checkpoint."""
