"""Rate limits such as `100/m`: their text, and how many runs may start now. Pure arithmetic; the caller has the clock.

GCRA (the leaky bucket as a meter, ITU-T I.371): evenly spaced arrivals with a burst of a tenth of the limit. In any
window of length w no more than burst + w / interval runs start, so there is no edge at which two windows' worth fit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

RATE = re.compile(r"(?P<limit>[1-9]\d{0,8})/(?P<unit>[smhd])\Z")
UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
BURST_SHARE = 10

ROUNDING = 1e-9
"""A billionth of an interval, so that an interval that is exactly over is not mistaken for an unfinished one."""

ROUNDED_MICROSECONDS = 1e-3
"""So that a whole number of microseconds is not rounded up to the next for its binary fraction."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`interval_seconds` between evenly spaced runs; `burst` runs may start at once after a pause."""

    interval_seconds: float
    burst: int

    @property
    def tolerance_seconds(self) -> float:
        return (self.burst - 1) * self.interval_seconds

    def room(self, ahead_seconds: float) -> int:
        """How many runs may start now; `ahead_seconds` is how far the next even arrival lies in the future."""
        slack = self.tolerance_seconds - max(0.0, ahead_seconds)
        return 0 if slack < 0 else math.floor(slack / self.interval_seconds + ROUNDING) + 1

    def charge_seconds(self, count: int) -> float:
        """By how much that many runs move the next even arrival, in whole microseconds and rounded up: the database
        keeps no more, and an interval rounded down would let more start than the limit."""
        return math.ceil(count * self.interval_seconds * 1e6 - ROUNDED_MICROSECONDS) / 1e6

    def wait_seconds(self, ahead_seconds: float) -> float:
        """Seconds until the next run may start."""
        return max(0.0, ahead_seconds - self.tolerance_seconds)


@lru_cache(maxsize=1024)
def parse_rate(text: str) -> Rate:
    """The rate; raises ValueError with the form that is needed."""
    match = RATE.match(text)
    if match is None:
        raise ValueError(f"must be a whole number per s, m, h or d, such as 100/m, not {text!r}")
    limit = int(match["limit"])
    return Rate(UNIT_SECONDS[match["unit"]] / limit, max(1, limit // BURST_SHARE))
