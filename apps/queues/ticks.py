"""What the coordinator does for queues by the clock; each step is safe to repeat and to run in two processes."""

from apps.storage.statements import statement

RATES_LIMIT = 1000
RATE_IDLE_SECONDS = 3600
"""So that keys which come back within the hour find their row again."""

DROP_IDLE_RATES = statement(__file__, "drop_idle_rates")


def drop_idle_rates() -> bool:
    """Removes rates that have held nobody back for an hour."""
    return len(DROP_IDLE_RATES.run(idle_seconds=RATE_IDLE_SECONDS, limit=RATES_LIMIT)) == RATES_LIMIT
