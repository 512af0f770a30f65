"""The table of ticks: what the coordinator does on a timer. To add one, change its app and this list."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from apps.queues.ticks import drop_idle_rates
from apps.runs.ticks import drop_old_keys, expire_unstarted_runs
from apps.workers.ticks import expire_ended_leases, stamp_pulse


class Lane(StrEnum):
    """Ticks of one lane run one after the other, in the lane's own thread and connection: a slow one does not delay
    those of another lane."""

    PULSE = "pulse"
    """Nothing else: a late pulse counts as an outage, during which no lease ends."""

    LEASES = "leases"
    QUEUE = "queue"
    """Work that runs wait for."""

    SLOW = "slow"
    """Work that nothing waits for: cleaning up."""

    @property
    def statement_seconds(self) -> float:
        """How long one statement may take."""
        return STATEMENT_SECONDS[self]


STATEMENT_SECONDS = {Lane.PULSE: 2.0, Lane.LEASES: 5.0, Lane.QUEUE: 5.0, Lane.SLOW: 60.0}


@dataclass(frozen=True, slots=True)
class Tick:
    """A bounded step and how often it runs; it returns True if there is more to do at once."""

    name: str
    lane: Lane
    every_seconds: float
    step: Callable[[], bool]


TICKS = [
    Tick("workers.stamp_pulse", Lane.PULSE, 5.0, stamp_pulse),
    Tick("workers.expire_leases", Lane.LEASES, 1.0, expire_ended_leases),
    Tick("runs.expire_unstarted_runs", Lane.QUEUE, 1.0, expire_unstarted_runs),
    Tick("runs.drop_old_keys", Lane.SLOW, 60.0, drop_old_keys),
    Tick("queues.drop_idle_rates", Lane.SLOW, 60.0, drop_idle_rates),
]
