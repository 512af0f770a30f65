"""The table of ticks: what the coordinator does by the clock. Adding one touches its app and this list."""

from collections.abc import Callable
from dataclasses import dataclass

from apps.queues.ticks import drop_idle_rates
from apps.runs.ticks import drop_old_keys, expire_unstarted_runs
from apps.workers.ticks import expire_ended_leases, stamp_pulse


@dataclass(frozen=True, slots=True)
class Tick:
    """A bounded step and how often it runs; it returns True where there is more to do at once."""

    name: str
    every_seconds: float
    step: Callable[[], bool]


TICKS = [
    Tick("workers.stamp_pulse", 5.0, stamp_pulse),
    Tick("workers.expire_leases", 1.0, expire_ended_leases),
    Tick("runs.expire_unstarted_runs", 1.0, expire_unstarted_runs),
    Tick("runs.drop_old_keys", 60.0, drop_old_keys),
    Tick("queues.drop_idle_rates", 60.0, drop_idle_rates),
]
