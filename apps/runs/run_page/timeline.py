"""The layout of a run's timeline: where bars, marks and ticks are, in percent of the width. Pure arithmetic.

It reads no rows and writes no HTML; `scale.py` turns times into places.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest

from apps.runs.run_page.scale import Scale, Span, build_scale
from apps.runs.run_page.timeline_parts import Bar, Boundary, Course, Mark, Row, StepSpan, Timeline, Try

SEGMENTS_SHOWN = 24
"""Rows per attempt; longer lists keep both ends and count the middle."""

STEPS_DRAWN = 100
"""Steps drawn for the whole run, the longest ones; the others are counted."""

MARK_GAP_PERCENT = 0.6
"""Marks closer together than this would blur into one."""

KEPT = "steps whose results are kept"


def layout(
    course: Course,
    attempts: Sequence[Try],
    boundaries: Sequence[Boundary],
    now: datetime,
    *,
    steps: Sequence[StepSpan] = (),
    is_to_scale: bool = False,
) -> Timeline:
    """The rows of a run as it is at `now`. Attempts are ordered by number, boundaries and steps by index; idle time is
    collapsed if it would squeeze the work, unless `is_to_scale`."""
    end = max([now if course.finished_at is None else course.finished_at, *(t.finished_at or now for t in attempts)])
    is_planned = course.due_at is not None and course.due_at > end
    is_growing = course.finished_at is None and not is_planned
    scale = build_scale(_spans(course, attempts, end), is_live=is_growing, is_to_scale=is_to_scale)
    drawn = nlargest(STEPS_DRAWN, steps, key=lambda step: step.seconds)
    drawing = _Drawing(scale, now, list(boundaries), list(attempts), drawn_steps={step.index for step in drawn})
    for step in steps:
        drawing.steps.setdefault(step.attempt, []).append(step)
    rows = [_waiting_row(drawing, "queued", "Queued", course.created_at, _first_claim(attempts), course)]
    for position, attempt in enumerate(attempts):
        if position and (gap := _gap_row(drawing, attempts[position - 1], attempt.claimed_at, course)):
            rows.append(gap)
        rows.extend(_attempt_rows(drawing, attempt))
    if attempts and course.finished_at is None and (gap := _gap_row(drawing, attempts[-1], None, course)):
        rows.append(gap)
    return Timeline(
        rows,
        scale.ticks(),
        scale.corners(),
        scale.breaks(),
        scale.has_collapsed,
        scale.can_collapse,
        step_count=len(steps),
        drawn_step_count=len(drawn),
    )


@dataclass(slots=True)
class _Drawing:
    """What is needed to draw any row."""

    scale: Scale
    now: datetime
    boundaries: list[Boundary]
    attempts: list[Try]
    drawn_steps: set[int]
    steps: dict[int, list[StepSpan]] = field(default_factory=dict)

    def bar(self, start: datetime, end: datetime | None, kind: str, title: str = "") -> Bar:
        x = self.scale.place(start)
        width = max(0.0, self.scale.place(end or self.now) - x)
        if end is not None:
            return Bar(x, width, kind, title)
        rate, limit = self.scale.growth(self.now)
        return Bar(x, width, kind, title, rate=rate, limit=limit - x)


def _spans(course: Course, attempts: Sequence[Try], end: datetime) -> list[Span]:
    """The run divided into working and idle stretches, in order and without gaps."""
    spans: list[Span] = []
    at = course.created_at
    for attempt in attempts:
        claimed = max(at, attempt.claimed_at)
        spans.append(Span(at, claimed, is_idle=True))
        at = max(claimed, attempt.finished_at or end)
        spans.append(Span(claimed, at, is_idle=False))
    last = max(at, end, course.due_at or end) if course.finished_at is None else max(at, end)
    spans.append(Span(at, last, is_idle=True))
    return [span for span in spans if span.seconds > 0]


def _first_claim(attempts: Sequence[Try]) -> datetime | None:
    return attempts[0].claimed_at if attempts else None


def _waiting_row(
    drawing: _Drawing, kind: str, label: str, start: datetime, end: datetime | None, course: Course
) -> Row:
    end = end or course.finished_at
    if end is None and course.due_at is not None and course.due_at > drawing.now:
        row = Row(kind, label, seconds=(course.due_at - start).total_seconds())
        row.bars = [drawing.bar(start, course.due_at, f"{kind} planned")]
        return row
    row = Row(kind, label, seconds=((end or drawing.now) - start).total_seconds())
    row.live_since = start if end is None else None
    row.bars = [drawing.bar(start, end, kind)]
    return row


def _gap_row(drawing: _Drawing, before: Try, until: datetime | None, course: Course) -> Row | None:
    """The wait after an attempt that ended without ending the run."""
    if before.finished_at is None or (until is not None and until <= before.finished_at):
        return None
    label = "Backoff" if before.is_failure else "Queued again"
    if before.number == course.requeued_after:
        label = "Dead letter"
    return _waiting_row(drawing, "backoff", label, before.finished_at, until, course)


def _attempt_rows(drawing: _Drawing, attempt: Try) -> list[Row]:
    own = [boundary for boundary in drawing.boundaries if boundary.attempt == attempt.number]
    begun = attempt.started_at or attempt.claimed_at
    lane = Row("attempt", f"Attempt {attempt.number}", attempt.word, attempt=attempt.number, tone=attempt.tone)
    lane.seconds = ((attempt.finished_at or drawing.now) - attempt.claimed_at).total_seconds()
    lane.live_since = attempt.claimed_at if attempt.finished_at is None else None
    if begun > attempt.claimed_at:
        lane.bars.append(drawing.bar(attempt.claimed_at, begun, "start", "starting"))
    segments = _segments(drawing, attempt, own, begun)
    lane.bars.extend(bar for segment in segments for bar in segment.bars)
    lane.marks = _thinned([Mark(drawing.scale.place(b.at), "checkpoint", b.key) for b in own])
    if attempt.finished_at is not None:
        kind = "success" if attempt.is_success else "failure" if attempt.is_failure else "stop"
        lane.marks.append(Mark(drawing.scale.place(attempt.finished_at), kind, attempt.word))
    restored = _restored_row(drawing, attempt, begun)
    children = [*([restored] if restored else []), *_both_ends(segments)]
    has_steps = any(segment.step_count for segment in segments)
    return [lane, *(children if restored or own or has_steps else [])]


def _segments(drawing: _Drawing, attempt: Try, own: Sequence[Boundary], begun: datetime) -> list[Row]:
    """The stretches between resume points that this attempt actually ran; the last leads to its end."""
    rows, start, origin = [], begun, attempt.resumed_from or "start"
    for boundary in own:
        row = Row("segment", boundary.key, f"{origin} → {boundary.key}", attempt=attempt.number)
        row.seconds = max(0.0, (boundary.at - start).total_seconds())
        row.bars = [drawing.bar(start, boundary.at, "run", row.title)]
        row.marks = [Mark(drawing.scale.place(boundary.at), "checkpoint", boundary.key)]
        rows.append(row)
        start, origin = max(start, boundary.at), boundary.key
    rows.append(_tail(drawing, attempt, start, origin, own))
    _draw_steps(drawing, attempt, own, begun, rows)
    return rows


def _draw_steps(drawing: _Drawing, attempt: Try, own: Sequence[Boundary], begun: datetime, rows: Sequence[Row]) -> None:
    """Draws each step in the row of the segment where it ran."""
    ends = [boundary.index for boundary in own]
    for step in drawing.steps.get(attempt.number, ()):
        row = rows[bisect_left(ends, step.index)]
        row.step_count += 1
        if step.index in drawing.drawn_steps:
            row.steps.append(drawing.bar(max(begun, step.began_at), step.at, "step", step.key))


def _tail(drawing: _Drawing, attempt: Try, start: datetime, origin: str, own: Sequence[Boundary]) -> Row:
    """The stretch after the last checkpoint: if the attempt fails here, the next one repeats it, except its steps."""
    if attempt.finished_at is None:
        row = Row("segment", "running", f"{origin} → now", attempt=attempt.number, live_since=start)
        row.bars = [drawing.bar(start, None, "run live", row.title)]
    else:
        label = "return" if attempt.is_success else attempt.word.lower()
        row = Row("segment", label, f"{origin} → {label}", attempt=attempt.number)
        if attempt.is_success:
            row.bars = [drawing.bar(start, attempt.finished_at, "run", row.title)]
        else:
            row.bars = _lost_bars(drawing, start, attempt.finished_at, _kept(drawing, attempt, own), row.title)
        mark = "success" if attempt.is_success else "failure" if attempt.is_failure else "stop"
        row.marks = [Mark(drawing.scale.place(attempt.finished_at), mark, attempt.word)]
    row.seconds = max(0.0, ((attempt.finished_at or drawing.now) - start).total_seconds())
    return row


def _kept(drawing: _Drawing, attempt: Try, own: Sequence[Boundary]) -> list[StepSpan]:
    """The steps after the attempt's last checkpoint, as they began: later attempts reuse their results."""
    last = own[-1].index if own else -1
    return sorted((s for s in drawing.steps.get(attempt.number, ()) if s.index > last), key=lambda step: step.began_at)


def _lost_bars(drawing: _Drawing, start: datetime, end: datetime, kept: Sequence[StepSpan], title: str) -> list[Bar]:
    """The stretch as lost, interrupted where steps ran whose results are kept. Gaps too narrow to see are not drawn."""
    bars: list[Bar] = []
    at = start
    for step in kept:
        began, ended = min(end, max(at, step.began_at)), min(end, step.at)
        if ended <= at:
            continue
        if drawing.scale.place(began) - drawing.scale.place(at) >= MARK_GAP_PERCENT:
            bars.append(drawing.bar(at, began, "lost", title))
        else:
            began = at
        before = bars[-1] if bars else None
        if before is not None and before.kind == "run":
            bars[-1] = Bar(before.x, drawing.scale.place(ended) - before.x, "run", before.title)
        else:
            bars.append(drawing.bar(began, ended, "run", KEPT))
        at = ended
    if end > at or not bars:
        bars.append(drawing.bar(at, end, "lost", title))
    return bars


def _restored_row(drawing: _Drawing, attempt: Try, begun: datetime) -> Row | None:
    """What the attempt skipped: ghosts where it first ran, and a line from there to where its data was restored."""
    if attempt.resumed_from is None:
        return None
    last = next((b.index for b in drawing.boundaries if b.key == attempt.resumed_from), None)
    kept = [b for b in drawing.boundaries if last is not None and b.index <= last]
    row = Row("restored", attempt.resumed_from, f"restored from {attempt.resumed_from}", attempt=attempt.number)
    place = drawing.scale.place(begun)
    ran = [bar for number in sorted({b.attempt for b in kept}) for bar in _ghosts(drawing, number, kept)]
    if ran:
        row.bars = [*ran, Bar(ran[-1].end, max(0.0, place - ran[-1].end), "thread")]
    row.marks = [Mark(place, "restored", row.title)]
    return row


def _ghosts(drawing: _Drawing, number: int, kept: Sequence[Boundary]) -> list[Bar]:
    earlier = next((t for t in drawing.attempts if t.number == number), None)
    if earlier is None:
        return []
    bars, start = [], earlier.started_at or earlier.claimed_at
    for boundary in (b for b in kept if b.attempt == number):
        bars.append(drawing.bar(start, boundary.at, "ghost", f"{boundary.key}, saved by attempt {number}"))
        start = max(start, boundary.at)
    return bars[-SEGMENTS_SHOWN:]


def _both_ends(rows: list[Row]) -> list[Row]:
    if len(rows) <= SEGMENTS_SHOWN:
        return rows
    half = SEGMENTS_SHOWN // 2
    hidden = rows[half:-half]
    bars = [Bar(hidden[0].bars[0].x, hidden[-1].bars[0].end - hidden[0].bars[0].x, "run")]
    seconds = sum(row.seconds or 0.0 for row in hidden)
    more = Row("more", f"{len(hidden):,} more segments", seconds=seconds, attempt=hidden[0].attempt, bars=bars)
    more.steps = [bar for row in hidden for bar in row.steps]
    more.step_count = sum(row.step_count for row in hidden)
    return [*rows[:half], more, *rows[-half:]]


def _thinned(marks: list[Mark]) -> list[Mark]:
    kept: list[Mark] = []
    for mark in marks:
        if not kept or mark.x - kept[-1].x >= MARK_GAP_PERCENT:
            kept.append(mark)
    if marks and kept[-1] is not marks[-1]:
        kept[-1] = marks[-1]
    return kept
