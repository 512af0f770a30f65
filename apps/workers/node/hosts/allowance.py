"""Limits how much of the worker's loop one connection may use: a token bucket over the cost of its frames."""

import time
from collections.abc import Callable

from trigger_sdk.wire import Frame

UNITS_PER_SECOND = 10_000.0
"""A unit is a small frame, which costs the worker about ten microseconds: one run may use a tenth of its loop."""

BURST_UNITS = 5_000.0
TURN_UNITS = 64.0
"""What one connection may use before the others get their turn: less than a millisecond."""

HEADER_BYTES_PER_UNIT = 1024
BODY_BYTES_PER_UNIT = 16 * 1024

WORK_UNITS = {"checkpoint": 3.0, "load": 20.0}
"""A frame's cost beyond being read: saves are sent in batches, each load is a separate request."""


def cost_of(frame: Frame) -> float:
    """Returns the cost of a frame: its header is parsed, its body only passed on."""
    size = frame.header_bytes / HEADER_BYTES_PER_UNIT + len(frame.body) / BODY_BYTES_PER_UNIT
    return WORK_UNITS.get(frame.type, 1.0) + size


class Allowance:
    """The units left; refilled over time, up to `burst`. One large frame may overdraw it."""

    def __init__(
        self,
        *,
        per_second: float = UNITS_PER_SECOND,
        burst: float = BURST_UNITS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._filled_at = clock()

    def spend(self, units: float) -> None:
        self._fill()
        self._left -= units

    def wait_seconds(self) -> float:
        """Returns 0 while something is left, otherwise the time until there is enough for a turn."""
        self._fill()
        return 0.0 if self._left > 0 else (TURN_UNITS - self._left) / self._per_second

    def _fill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._filled_at) * self._per_second)
        self._filled_at = now
