"""The table of ticks: what the coordinator does by the clock. Adding one touches its app and this list."""

from collections.abc import Callable
from dataclasses import dataclass

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
]
