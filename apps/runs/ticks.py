"""What the coordinator does for runs by the clock; each step is safe to repeat and to run in two processes."""

from apps.runs.lifecycle import expire_runs
from apps.runs.trigger.idempotency import drop_expired_keys

STEP_LIMIT = 1000


def expire_unstarted_runs() -> bool:
    return len(expire_runs(limit=STEP_LIMIT)) == STEP_LIMIT


def drop_old_keys() -> bool:
    return drop_expired_keys(limit=STEP_LIMIT) == STEP_LIMIT
