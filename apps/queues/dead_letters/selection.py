"""Which dead letters are meant: by filter or by ids; their list and their groups. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Min
from django.db.models.fields.json import KeyTextTransform

from apps.http.answers import timestamp
from apps.http.filters import Chosen
from apps.http.pages import cursor_page
from apps.runs.models import Run, RunQuerySet
from apps.runs.shown.run import run_row

MANY_LIMIT = 10_000
"""Dead letters per call that moves many."""

FACETS_LIMIT = 1000

GROUPED_LIMIT = 10_000
"""The newest so many are grouped: their errors are read for it, each with its stack."""


def with_errors(runs: RunQuerySet) -> Any:
    """Annotated with `error_type`, `error_message` and `error_reason`, without reading the stack."""
    return runs.annotate(
        error_type=KeyTextTransform("type", "value__error"),
        error_message=KeyTextTransform("message", "value__error"),
        error_reason=KeyTextTransform("reason", "value__error"),
    )


def dead_letter_page(chosen: Chosen, *, cursor: str | None, limit: int) -> tuple[Sequence[dict[str, Any]], str | None]:
    """The newest that fit behind the cursor, and the cursor of the page after them; raises RequestInvalid."""
    runs = with_errors(chosen.apply(Run.objects.all()))
    rows, next_cursor = cursor_page(runs, "dead-letters", cursor, limit)
    return [_dead_letter_row(run) for run in rows], next_cursor


def _dead_letter_row(run: Any) -> dict[str, Any]:
    return {
        **run_row(run),
        "error_type": run.error_type,
        "error_message": run.error_message,
        "reason": run.error_reason,
    }


@dataclass(frozen=True, slots=True)
class DeadLetterGroups:
    """`is_complete` is false where only the newest of them were grouped."""

    items: Sequence[dict[str, Any]]
    is_complete: bool


def dead_letter_groups(chosen: Chosen) -> DeadLetterGroups:
    """How many dead letters each task has of each type of error, the largest group first."""
    newest = list(chosen.apply(Run.objects.newest_first()).values_list("id", flat=True)[: GROUPED_LIMIT + 1])
    grouped = (
        Run.objects.filter(id__in=newest[:GROUPED_LIMIT])
        .annotate(error_type=KeyTextTransform("type", "value__error"))
        .values("task_id", "error_type")
        .annotate(count=Count("id"), first=Min("finished_at"), last=Max("finished_at"))
        .order_by("-count", "task_id", "error_type")
    )
    items = [
        {
            "task": row["task_id"],
            "error_type": row["error_type"],
            "count": row["count"],
            "first_at": timestamp(row["first"]),
            "last_at": timestamp(row["last"]),
        }
        for row in grouped
    ]
    return DeadLetterGroups(items, is_complete=len(newest) <= GROUPED_LIMIT)


FACETS = ("task", "queue", "error_type")


def recent_facets() -> dict[str, Sequence[str]]:
    """By the name of a filter what the newest dead letters have: no choice of ones that are not there."""
    newest = with_errors(Run.objects.dead_letters().newest_first())
    rows = list(newest.values_list("task_id", "queue", "error_type")[:FACETS_LIMIT])
    return {name: sorted({row[place] for row in rows if row[place]}) for place, name in enumerate(FACETS)}
