"""The filters of dead letters, one record each: behind their list, the verbs that move many, and the admin."""

from __future__ import annotations

from typing import Annotated

from django.db.models import Q
from pydantic import Field

from apps.http.answers import timestamp
from apps.http.errors import FieldError
from apps.http.filters import Chosen, Filter, FilterTable, column, compared
from apps.http.moments import Moment
from apps.queues.errors import SelectionInvalid
from apps.runs.list.filters import tagged
from apps.runs.models import QUEUE_MAX_LENGTH, TAG_MAX_LENGTH, TASK_ID_MAX_LENGTH

DEAD_LETTER_FILTERS = FilterTable(
    Filter("task", "task", Annotated[str, Field(max_length=TASK_ID_MAX_LENGTH)], column("task_id")),
    Filter("error_type", "type of error", Annotated[str, Field(max_length=500)], column("value__error__type")),
    Filter("queue", "queue", Annotated[str, Field(max_length=QUEUE_MAX_LENGTH)], column("queue")),
    Filter("tag", "tag", Annotated[str, Field(max_length=TAG_MAX_LENGTH)], tagged),
    Filter(
        "since",
        "dead since",
        Moment,
        compared("finished_at__gte"),
        "Became a dead letter at or after this time.",
        write=lambda at: timestamp(at) or "",
    ),
    Filter(
        "until",
        "dead before",
        Moment,
        compared("finished_at__lt"),
        "Became one before this time.",
        write=lambda at: timestamp(at) or "",
    ),
    Filter(
        "search",
        "message",
        Annotated[str, Field(max_length=200)],
        lambda values: Q(value__error__message__icontains=values[0]) if values[0] else Q(),
        "Part of the error's message.",
    ),
    base=lambda runs: runs.dead_letters(),
)


def refuse_unstorable(chosen: Chosen) -> None:
    """Raises SelectionInvalid for texts that no column could hold."""
    found = tuple(FieldError(f"filter.{name}", "contains NUL") for name, text in chosen.pairs if "\x00" in text)
    if found:
        raise SelectionInvalid("; ".join(f"{error.path}: {error.message}" for error in found), found)
