"""How states and outcomes are shown: icon, word, tone and meaning. Templates draw badges and compare nothing."""

from dataclasses import dataclass

from apps.runs.states import Outcome, RunState


@dataclass(frozen=True, slots=True)
class Badge:
    """`tone` is a class of `badge.css`, `icon` a symbol of the sprite; `is_busy` makes the icon spin."""

    word: str
    icon: str
    tone: str
    meaning: str
    is_busy: bool = False


STATE_BADGES = {
    RunState.DELAYED: Badge("Delayed", "clock", "quiet", "It becomes pending at its due time."),
    RunState.PENDING: Badge("Pending", "circle-dashed", "pending", "It waits in its queue for a worker."),
    RunState.RUNNING: Badge("Running", "loader-circle", "running", "A worker is executing it now.", is_busy=True),
    RunState.RETRYING: Badge(
        "Retrying", "rotate-ccw", "retrying", "An attempt failed; the next one waits for its time."
    ),
    RunState.WAITING: Badge("Waiting", "hourglass", "quiet", "It waits on purpose and holds no worker."),
    RunState.COMPLETED: Badge("Completed", "circle-check", "completed", "It returned its output."),
    RunState.DEAD_LETTER: Badge("Dead letter", "skull", "failed", "It failed for good and waits for a person."),
    RunState.DISCARDED: Badge("Discarded", "archive", "quiet", "A person closed it without success."),
    RunState.CANCELED: Badge("Canceled", "ban", "quiet", "It was stopped on request."),
    RunState.EXPIRED: Badge("Expired", "timer", "quiet", "Its time to live passed before it started."),
}

OUTCOME_BADGES = {
    Outcome.COMPLETED: Badge("Completed", "circle-check", "completed", "The task returned."),
    Outcome.FAILED: Badge("Failed", "circle-x", "failed", "The task raised an exception."),
    Outcome.TIMED_OUT: Badge("Timed out", "timer", "failed", "It ran longer than its maximum duration."),
    Outcome.OUT_OF_MEMORY: Badge("Out of memory", "memory-stick", "failed", "It was killed at its memory limit."),
    Outcome.CRASHED: Badge("Crashed", "octagon-x", "failed", "Its process died."),
    Outcome.LOST: Badge("Lost", "unplug", "failed", "Its worker stopped answering."),
    Outcome.START_FAILED: Badge("Start failed", "package", "failed", "Its container or process could not be started."),
    Outcome.CANCELED: Badge("Canceled", "ban", "quiet", "It was stopped on request."),
    Outcome.SUSPENDED: Badge("Suspended", "hourglass", "quiet", "It gave its worker back for a durable wait."),
    Outcome.RELEASED: Badge("Released", "circle-slash", "quiet", "Its worker gave it back before it ended."),
}

LIVE_ATTEMPT_BADGE = Badge("Running", "loader-circle", "running", "This attempt is executing now.", is_busy=True)


UNKNOWN_BADGE = Badge("Unknown", "circle-dashed", "quiet", "This version does not know what is stored here.")


def state_badge(state: str) -> Badge:
    return STATE_BADGES[RunState(state)] if state in RunState else UNKNOWN_BADGE


def outcome_badge(outcome: str) -> Badge:
    """The badge of an attempt; an empty outcome means that the attempt is alive."""
    if not outcome:
        return LIVE_ATTEMPT_BADGE
    return OUTCOME_BADGES[Outcome(outcome)] if outcome in Outcome else UNKNOWN_BADGE
