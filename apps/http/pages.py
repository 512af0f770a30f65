"""Pages of lists by key, newest first: whatever is added meanwhile, no row is shown twice and none is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from apps.http.cursors import read_run_cursor, write_run_cursor

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    has_newer: bool
    has_older: bool


def page_of(rows: QuerySet[Row], *, before: UUID | None = None, after: UUID | None = None, limit: int) -> Page[Row]:
    """The newest rows, those next older than `before`, or those next newer than `after`."""
    if after is not None:
        found = list(rows.filter(id__gt=after).order_by("id")[: limit + 1])
        return Page(found[:limit][::-1], has_newer=len(found) > limit, has_older=bool(found))
    older = rows.filter(id__lt=before) if before is not None else rows
    found = list(older.order_by("-id")[: limit + 1])
    return Page(found[:limit], has_newer=before is not None and bool(found), has_older=len(found) > limit)


def cursor_page(runs: QuerySet[Row], listing: str, cursor: str | None, limit: int) -> tuple[Sequence[Row], str | None]:
    """The newest runs behind the cursor that the listing gave out, and the cursor of the page after them.

    Raises RequestInvalid where it gave out no such cursor.
    """
    before = None if cursor is None else read_run_cursor(listing, cursor)
    page = page_of(runs, before=before, limit=limit)
    last: Any = page.rows[-1] if page.has_older else None
    return page.rows, None if last is None else write_run_cursor(listing, last.id)
