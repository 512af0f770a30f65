"""What the state inspector shows: checkpoints one by one, the steps between them in groups. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import BooleanField, Case, Exists, ExpressionWrapper, OuterRef, Q, TextField, Value, When
from django.db.models.functions import Cast

from apps.checkpoints.models import Checkpoint, Kind
from apps.runs.values.tree import Node, parse, tree

PAGE_SIZE = 100
"""Checkpoints and groups of one answer, and steps of one."""

STEPS_OPEN = 6
"""A group of up to so many steps is shown open."""

FOUND_SHOWN = 50
INLINE_BYTES = 8_000
INLINE_STEP_BYTES = 1_000
"""Larger data is fetched when its entry is opened."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint or step without its data."""

    index: int
    kind: str
    key: str
    size_bytes: int
    seconds: float | None
    is_edited: bool

    @property
    def is_step(self) -> bool:
        return self.kind == Kind.STEP


@dataclass(frozen=True, slots=True)
class Line:
    """A checkpoint or step as it is shown; `root` is None where the data is fetched on demand."""

    is_group: ClassVar[bool] = False

    key: str
    is_step: bool
    index: int
    size_bytes: int
    attempt: int
    created_at: datetime
    seconds: float | None
    is_edited: bool
    was_edited_before: bool
    binds: Sequence[str]
    root: Node | None
    carried: Node | None
    has_unshown_carried: bool

    @property
    def is_brought_along(self) -> bool:
        """A replay copied it from the run that it replays."""
        return self.attempt == 0


@dataclass(frozen=True, slots=True)
class StepPage:
    """Steps of one group from somewhere on. More of them may follow; more may come where it is live."""

    lines: Sequence[Line]
    first_index: int
    last_index: int
    more_count: int
    is_live: bool

    @property
    def next_count(self) -> int:
        return min(self.more_count, PAGE_SIZE)

    @property
    def follows_by_itself(self) -> bool:
        """Only a short list does: thousands of steps that came one by one would fill the page."""
        return self.is_live and not self.more_count and self.last_index - self.first_index < PAGE_SIZE


@dataclass(frozen=True, slots=True)
class StepGroup:
    """Steps without a checkpoint between them. A continued one is in the page already: only its facts are new."""

    is_group: ClassVar[bool] = True

    first_key: str
    last_key: str
    count: int
    size_bytes: int
    seconds: float | None
    is_continued: bool
    steps: StepPage

    @property
    def index(self) -> int:
        return self.steps.first_index

    @property
    def is_open(self) -> bool:
        return self.count <= STEPS_OPEN


@dataclass(frozen=True, slots=True)
class CheckpointPage:
    """`group_index` is where the group begins that stands last and may still grow; None behind a checkpoint."""

    items: Sequence[Line | StepGroup]
    last_index: int
    group_index: int | None
    has_more: bool


def entries_of(run_id: UUID, after: int = -1) -> list[Entry]:
    """What the run has saved behind that index, in commit order."""
    rows = Checkpoint.objects.filter(run_id=run_id, index__gt=after).order_by("index")
    columns = ("index", "kind", "key", "size_bytes", "duration_seconds", "is_edited")
    return [Entry(*row) for row in rows.values_list(*columns)]


def grouped(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Each checkpoint alone, the steps between two of them together."""
    return [list(found) for _, found in groupby(entries, key=lambda entry: -1 if entry.is_step else entry.index)]


def checkpoint_page(run_id: UUID, after: int, group_index: int | None = None) -> CheckpointPage:
    """The entries after that index, -1 for the first; `group_index` as the page before it gave it."""
    groups = grouped(entries_of(run_id, after if group_index is None else group_index - 1))
    shown, has_more = groups[:PAGE_SIZE], len(groups) > PAGE_SIZE
    is_wanted = {id(group): not group[0].is_step or len(group) <= STEPS_OPEN for group in shown}
    lines = _lines(run_id, [entry.index for group in shown if is_wanted[id(group)] for entry in group])
    trailing = shown[-1] if shown and not has_more and shown[-1][0].is_step else None
    items: list[Line | StepGroup] = []
    for group in shown:
        if group[0].is_step:
            is_continued = group[0].index == group_index
            items.append(_group(group, lines, is_live=group is trailing, is_continued=is_continued))
        else:
            items.append(lines[group[0].index])
    last_index = shown[-1][-1].index if shown else after
    return CheckpointPage(items, last_index, trailing[0].index if trailing else None, has_more)


def step_page(run_id: UUID, first_index: int, after: int) -> StepPage:
    """The next steps of the group that begins at `first_index`, behind the index `after`."""
    rows = Checkpoint.objects.filter(run_id=run_id)
    end = rows.filter(index__gt=first_index, kind=Kind.CHECKPOINT).order_by("index").values_list("index", flat=True)
    until = end.first()
    steps = rows.filter(index__gt=max(after, first_index - 1), kind=Kind.STEP)
    if until is not None:
        steps = steps.filter(index__lt=until)
    indices = list(steps.order_by("index").values_list("index", flat=True))
    lines = _lines(run_id, indices[:PAGE_SIZE])
    last_index = indices[:PAGE_SIZE][-1] if indices else after
    return StepPage(
        list(lines.values()), first_index, last_index, max(0, len(indices) - PAGE_SIZE), is_live=until is None
    )


def found_lines(run_id: UUID, text: str) -> tuple[list[Line], bool]:
    """Entries whose key contains the text, in commit order, and whether there are more than are shown."""
    rows = Checkpoint.objects.filter(run_id=run_id, key__icontains=text).order_by("index")
    indices = list(rows.values_list("index", flat=True)[: FOUND_SHOWN + 1])
    return list(_lines(run_id, indices[:FOUND_SHOWN]).values()), len(indices) > FOUND_SHOWN


def _group(group: Sequence[Entry], lines: Mapping[int, Line], *, is_live: bool, is_continued: bool) -> StepGroup:
    shown = [lines[entry.index] for entry in group if entry.index in lines]
    times = [entry.seconds for entry in group if entry.seconds is not None]
    first_index = group[0].index
    last_index = shown[-1].index if shown else first_index - 1
    return StepGroup(
        first_key=group[0].key,
        last_key=group[-1].key,
        count=len(group),
        size_bytes=sum(entry.size_bytes for entry in group),
        seconds=sum(times) if times else None,
        is_continued=is_continued,
        steps=StepPage(shown, first_index, last_index, len(group) - len(shown), is_live),
    )


def _lines(run_id: UUID, indices: Sequence[int]) -> dict[int, Line]:
    if not indices:
        return {}
    is_small = Q(size_bytes__lte=INLINE_STEP_BYTES) | Q(size_bytes__lte=INLINE_BYTES, kind=Kind.CHECKPOINT)
    nothing = Value(None, output_field=TextField())
    same_in_original = Checkpoint.objects.filter(
        run_id=OuterRef("run__replay_of_id"),
        index=OuterRef("index"),
        content_hash=OuterRef("content_hash"),
        is_edited=True,
    )
    rows = (
        Checkpoint.objects.filter(run_id=run_id, index__in=indices)
        .annotate(
            shown_data=Case(When(is_small, then=Cast("data", TextField())), default=nothing),
            shown_carried=Case(When(is_small, then=Cast("carried", TextField())), default=nothing),
            has_carried=ExpressionWrapper(Q(carried__isnull=False), BooleanField()),
            was_edited_before=Exists(same_in_original),
        )
        .defer("data", "carried")
        .order_by("index")
    )
    return {row.index: _line(row) for row in rows}


def _line(row: Any) -> Line:
    """`row` carries the annotations of `_lines`."""
    data, carried = row.shown_data, row.shown_carried
    return Line(
        key=row.key,
        is_step=row.kind == Kind.STEP,
        index=row.index,
        size_bytes=row.size_bytes,
        attempt=row.attempt,
        created_at=row.created_at,
        seconds=row.duration_seconds,
        is_edited=row.is_edited,
        was_edited_before=row.was_edited_before,
        binds=row.binds,
        root=tree(parse(data)) if data is not None else None,
        carried=tree(parse(carried)) if carried is not None else None,
        has_unshown_carried=row.has_carried and carried is None,
    )
