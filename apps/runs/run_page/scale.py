"""Time to place: a scale in percent that can shorten idle stretches, with its ticks. Pure arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta

FULL = 98.5
"""Percent of the width that times use; the rest keeps the last mark whole."""

IDLE_SHARE = 0.16
"""A collapsed idle stretch is drawn as long as this share of all work."""

COLLAPSE_FROM = 0.5
"""Idle stretches are worth collapsing from this share of all work on."""

LIVE_ROOM = 1.2
"""A live stretch gets this much more room than it has used, so that it can grow without a new layout."""

TICKS_WANTED = 6
TICK_GAP_PERCENT = 9.0
NICE_STEPS = (1, 2, 5)
NICE_SECONDS = (10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time in which the run worked or was idle."""

    start: datetime
    end: datetime
    is_idle: bool

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the axis; `offset_seconds` counts from the run's creation."""

    x: float
    offset_seconds: float


@dataclass(frozen=True, slots=True)
class _Piece:
    start: datetime
    seconds: float
    x: float
    width: float
    is_collapsed: bool

    def place(self, at: datetime) -> float:
        share = (at - self.start).total_seconds() / self.seconds if self.seconds else 0.0
        return self.x + self.width * min(1.0, max(0.0, share))


class Scale:
    """Pieces of constant speed, in order; places outside are drawn at the ends."""

    def __init__(self, pieces: list[_Piece], *, can_collapse: bool) -> None:
        self._pieces = pieces
        self._starts = [piece.start for piece in pieces]
        self.can_collapse = can_collapse

    @property
    def has_collapsed(self) -> bool:
        return any(piece.is_collapsed for piece in self._pieces)

    def place(self, at: datetime) -> float:
        return self._piece(at).place(at) if self._pieces else 0.0

    def growth(self, at: datetime) -> tuple[float, float]:
        """Percent per second at this time, and the place up to which a live bar may grow before a new layout."""
        if not self._pieces:
            return 0.0, 0.0
        piece = self._piece(at)
        return piece.width / piece.seconds if piece.seconds else 0.0, piece.x + piece.width

    def corners(self) -> list[Tick]:
        """Where pieces begin and end: between two of them time is linear."""
        if not self._pieces:
            return []
        origin, last = self._starts[0], self._pieces[-1]
        found = [Tick(piece.x, (piece.start - origin).total_seconds()) for piece in self._pieces]
        return [*found, Tick(last.x + last.width, found[-1].offset_seconds + last.seconds)]

    def breaks(self) -> list[float]:
        """The middles of the collapsed stretches."""
        return [piece.x + piece.width / 2 for piece in self._pieces if piece.is_collapsed]

    def ticks(self) -> list[Tick]:
        """Round offsets from the start, none within collapsed stretches, none too close to another."""
        if not self._pieces:
            return []
        origin = self._starts[0]
        shown = sum(piece.seconds for piece in self._pieces if not piece.is_collapsed)
        step = nice_ceiling(shown / TICKS_WANTED)
        found = [Tick(self.place(origin), 0.0)]
        for piece in self._pieces:
            if not piece.is_collapsed:
                self._add_ticks(found, piece, origin, step)
        return found

    @staticmethod
    def _add_ticks(found: list[Tick], piece: _Piece, origin: datetime, step: float) -> None:
        first = (piece.start - origin).total_seconds()
        number = int(first // step) + 1
        while (offset := number * step) <= first + piece.seconds:
            x = piece.place(origin + timedelta(seconds=offset))
            if x - found[-1].x >= TICK_GAP_PERCENT:
                found.append(Tick(x, offset))
            number += 1

    def _piece(self, at: datetime) -> _Piece:
        return self._pieces[max(0, bisect_right(self._starts, at) - 1)]


def build_scale(spans: list[Span], *, is_live: bool, is_to_scale: bool) -> Scale:
    """A scale over the stretches. `is_live` leaves room at the end; `is_to_scale` collapses nothing."""
    seconds = [span.seconds for span in spans]
    if is_live and spans:
        seconds[-1] = nice_ceiling(seconds[-1] * LIVE_ROOM)
    work = sum(length for span, length in zip(spans, seconds, strict=True) if not span.is_idle)
    longest = work * COLLAPSE_FROM
    collapsible = [work > 0 and span.is_idle and length > longest for span, length in zip(spans, seconds, strict=True)]
    weights = [
        work * IDLE_SHARE if collapses and not is_to_scale else length
        for collapses, length in zip(collapsible, seconds, strict=True)
    ]
    total = sum(weights) or 1.0
    pieces, x = [], 0.0
    for span, length, weight, collapses in zip(spans, seconds, weights, collapsible, strict=True):
        width = FULL * weight / total
        pieces.append(_Piece(span.start, length, x, width, collapses and not is_to_scale))
        x += width
    return Scale(pieces, can_collapse=any(collapsible))


def nice_ceiling(seconds: float) -> float:
    """The next round number of seconds, minutes or hours; 1, 2 and 5 times powers of ten below ten seconds."""
    if seconds <= 0:
        return 0.001
    if seconds <= NICE_SECONDS[0]:
        power = 0.001
        while power * 10 < seconds:
            power *= 10
        return next(power * step for step in (*NICE_STEPS, 10) if power * step >= seconds - 1e-12)
    if seconds <= NICE_SECONDS[-1]:
        return float(next(step for step in NICE_SECONDS if step >= seconds))
    return -(-seconds // 86_400) * 86_400.0
