"""What the state inspector and the replay form show. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models import Case, TextField, Value, When
from django.db.models.functions import Cast

from apps.checkpoints.models import Checkpoint
from apps.runs.json_tree import Node, parse, tree

PAGE_SIZE = 100
INLINE_BYTES = 8_000
"""Larger data is fetched when its checkpoint is opened."""

CHOICES_SHOWN = 100
"""Checkpoints that the replay form offers, the newest; every one has its own button in the inspector."""


@dataclass(frozen=True, slots=True)
class CheckpointLine:
    """A checkpoint as one entry of the inspector; `root` is None where the data is fetched on demand."""

    key: str
    index: int
    size_bytes: int
    attempt: int
    created_at: datetime
    binds: Sequence[str]
    root: Node | None
    carried: Node | None

    @property
    def is_brought_along(self) -> bool:
        """A replay copied it from the run that it replays."""
        return self.attempt == 0


@dataclass(frozen=True, slots=True)
class CheckpointPage:
    lines: Sequence[CheckpointLine]
    last_index: int
    has_more: bool


def checkpoint_page(run_id: UUID, after: int) -> CheckpointPage:
    """The next checkpoints after that index, -1 for the first."""
    small = When(size_bytes__lte=INLINE_BYTES, then=Cast("data", TextField()))
    small_carried = When(size_bytes__lte=INLINE_BYTES, then=Cast("carried", TextField()))
    nothing = Value(None, output_field=TextField())
    rows = (
        Checkpoint.objects.filter(run_id=run_id, index__gt=after)
        .annotate(
            shown_data=Case(small, default=nothing, output_field=TextField()),
            shown_carried=Case(small_carried, default=nothing, output_field=TextField()),
        )
        .defer("data", "carried")
        .order_by("index")[: PAGE_SIZE + 1]
    )
    found = list(rows)
    lines = [_line(row, row.shown_data, row.shown_carried) for row in found[:PAGE_SIZE]]
    return CheckpointPage(lines, lines[-1].index if lines else after, has_more=len(found) > PAGE_SIZE)


def _line(row: Checkpoint, data: str | None, carried: str | None) -> CheckpointLine:
    return CheckpointLine(
        key=row.key,
        index=row.index,
        size_bytes=row.size_bytes,
        attempt=row.attempt,
        created_at=row.created_at,
        binds=row.binds,
        root=tree(parse(data)) if data is not None else None,
        carried=tree(parse(carried)) if carried is not None else None,
    )


@dataclass(frozen=True, slots=True)
class ReplayChoice:
    """A place where a replay may begin: after a checkpoint, or at the start with an empty key."""

    key: str
    note: str
    is_chosen: bool


def replay_choices(run_id: UUID, wanted: str) -> list[ReplayChoice]:
    """The start, then the checkpoints in order; `wanted` is offered even where the list is cut."""
    rows = Checkpoint.objects.filter(run_id=run_id).order_by("-index").values_list("index", "key")
    found = dict(rows[:CHOICES_SHOWN])
    found |= dict(rows.filter(key=wanted))
    chosen = wanted if wanted in found.values() else ""
    choices = [ReplayChoice("", "nothing is reused, everything runs again", is_chosen=not chosen)]
    for index, key in sorted(found.items()):
        reused = "the checkpoint is" if index == 0 else f"{index + 1} checkpoints are"
        choices.append(ReplayChoice(key, f"{reused} reused, what follows runs again", is_chosen=key == chosen))
    return choices
