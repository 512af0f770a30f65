"""What the runs list and the tasks list show, read in a fixed number of queries. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Case, F, Func, IntegerField, TextField, Value, When
from django.db.models.functions import Cast, Left, Length

from apps.http.pages import page_of
from apps.runs.badges import Badge, state_badge
from apps.runs.list.filters import RunFilter
from apps.runs.models import Run, RunQuerySet
from apps.runs.states import RunState
from apps.runs.values.tree import excerpt
from apps.storage.ids import public_id

PAGE_SIZE = 50
NEWER_COUNT_LIMIT = 100
EXCERPT_LENGTH = 160
EXCERPT_BYTES = 2_000
"""A larger stored payload has no excerpt: reading 50 values of 3 MB for a list would take seconds."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run as one row of the list."""

    id: str
    task: str
    badge: Badge
    excerpt: str
    attempt_count: int
    attempt_limit: int
    created_at: datetime
    live_since: datetime | None
    seconds: float | None
    next_attempt_at: datetime | None
    is_replay: bool
    is_waiting_for_cancel: bool

    @property
    def has_retried(self) -> bool:
        return self.attempt_count > 1


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page of the list with the address parameters of its neighbours; empty if there is none."""

    lines: Sequence[RunLine]
    newer_query: str
    older_query: str


def list_page(chosen: RunFilter) -> ListPage:
    """The page by key, newest first, whatever was triggered since."""
    runs = with_excerpts(chosen.apply(Run.objects.all()))
    page = page_of(runs, before=chosen.before, after=chosen.after, limit=PAGE_SIZE)
    return ListPage(
        lines=[run_line(row) for row in page.rows],
        newer_query=chosen.newer_than(page.rows[0].id).query if page.has_newer else "",
        older_query=chosen.older_than(page.rows[-1].id).query if page.has_older else "",
    )


def run_lines(run_ids: Iterable[UUID]) -> list[RunLine]:
    """These runs as rows, even if they no longer match a filter."""
    return [run_line(row) for row in with_excerpts(Run.objects.filter(id__in=list(run_ids)[:PAGE_SIZE]))]


def newer_count(chosen: RunFilter, since: UUID) -> int:
    """How many matching runs are newer, counted up to `NEWER_COUNT_LIMIT`."""
    return chosen.at_start().apply(Run.objects.filter(id__gt=since))[:NEWER_COUNT_LIMIT].count()


def neighbours(chosen: RunFilter, run_id: UUID) -> tuple[str, str]:
    """Public ids of the next newer and next older matching runs; empty if there is none."""
    runs = chosen.at_start().apply(Run.objects.all())
    newer = runs.filter(id__gt=run_id).order_by("id").values_list("id", flat=True).first()
    older = runs.filter(id__lt=run_id).order_by("-id").values_list("id", flat=True).first()
    return tuple(public_id("run", found) if found else "" for found in (newer, older))  # type: ignore[return-value]


def with_excerpts(runs: RunQuerySet) -> RunQuerySet:
    text = Cast("value__payload", TextField())
    size = Func(F("value__payload"), function="pg_column_size", output_field=IntegerField())
    small = When(stored_bytes__lte=EXCERPT_BYTES, then=Left(text, EXCERPT_LENGTH))
    is_cut = When(stored_bytes__lte=EXCERPT_BYTES, then=Func(Length(text), template="%(expressions)s > 160"))
    return runs.alias(stored_bytes=size).annotate(
        payload_excerpt=Case(small, default=Value("")),
        is_payload_cut=Case(is_cut, default=Value(value=True), output_field=BooleanField()),
    )


def run_line(run: Any) -> RunLine:
    """`run` carries the annotations of `with_excerpts`."""
    return RunLine(
        id=run.public_id,
        task=run.task_id,
        badge=state_badge(run.state),
        excerpt=excerpt(run.payload_excerpt, is_cut=run.is_payload_cut) if run.payload_excerpt else "",
        attempt_count=run.attempt_count,
        attempt_limit=run.attempt_limit,
        created_at=run.created_at,
        live_since=run.live_since,
        seconds=run.seconds,
        next_attempt_at=run.due_at if run.state in (RunState.RETRYING, RunState.DELAYED) else None,
        is_replay=run.replay_of_id is not None,
        is_waiting_for_cancel=run.is_cancel_requested and run.finished_at is None,
    )
