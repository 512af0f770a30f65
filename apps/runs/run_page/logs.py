"""Pages of what a run has logged, in the order in which the task wrote it: for the run page and for the API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from apps.http.cursors import read_cursor, write_cursor
from apps.runs.models import LogLine

LISTING = "logs"
LINES_SHOWN = 500


@dataclass(frozen=True, slots=True)
class LogSlice:
    """`cursor` is the place after the last line, None for the beginning; sent again it brings what came since."""

    lines: Sequence[LogLine]
    cursor: str | None
    has_earlier: bool = False


def newest_lines(run_id: UUID, *, limit: int = LINES_SHOWN) -> LogSlice:
    newest = list(_lines_of(run_id).order_by("-attempt", "-sequence")[: limit + 1])
    shown = newest[:limit][::-1]
    return LogSlice(shown, _cursor(shown, None), has_earlier=len(newest) > limit)


def lines_after(run_id: UUID, cursor: str | None, *, limit: int = LINES_SHOWN) -> LogSlice:
    """From the beginning where the cursor is None; raises RequestInvalid naming `after` where it is none."""
    lines = _lines_of(run_id).order_by("attempt", "sequence")
    if cursor is not None:
        attempt, sequence = read_cursor(LISTING, cursor, int, int, name="after")
        lines = lines.filter(Q(attempt=attempt, sequence__gt=sequence) | Q(attempt__gt=attempt))
    shown = list(lines[:limit])
    return LogSlice(shown, _cursor(shown, cursor))


def _lines_of(run_id: UUID) -> QuerySet[LogLine]:
    return LogLine.objects.filter(run_id=run_id)


def _cursor(lines: Sequence[LogLine], default: str | None) -> str | None:
    return write_cursor(LISTING, lines[-1].attempt, lines[-1].sequence) if lines else default
