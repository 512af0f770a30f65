"""The filters of the dead letters in Django's admin. Their choices come from the newest ones, by one query for all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from apps.queues.dead_letters.selection import Facets, recent_facets
from apps.queues.models import DeadLetter

PERIODS = {
    "hour": ("The last hour", timedelta(hours=1)),
    "day": ("The last 24 hours", timedelta(days=1)),
    "week": ("The last 7 days", timedelta(days=7)),
}


def _facets(request: HttpRequest) -> Facets:
    found = getattr(request, "_dead_letter_facets", None)
    if not isinstance(found, Facets):
        found = recent_facets()
        request._dead_letter_facets = found  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark on the request
    return found


class FacetFilter(SimpleListFilter):
    """One value of one facet; a value from an old address is offered too, so that it filters."""

    facet: ClassVar[str]
    column: ClassVar[str]

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        known = list(getattr(_facets(request), self.facet))
        chosen = self.value()
        return [(value, value) for value in ([*known, chosen] if chosen and chosen not in known else known)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        chosen = self.value()
        if chosen is None:
            return queryset
        return queryset.none() if "\x00" in chosen else queryset.filter(**{self.column: chosen})


class TaskFilter(FacetFilter):
    title, parameter_name, facet, column = "task", "task", "tasks", "task_id"


class QueueFilter(FacetFilter):
    title, parameter_name, facet, column = "queue", "queue", "queues", "queue"


class ErrorTypeFilter(FacetFilter):
    title, parameter_name, facet, column = "type of error", "error_type", "error_types", "value__error__type"


class SinceFilter(SimpleListFilter):
    title, parameter_name = "dead since", "since"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        period = PERIODS.get(self.value() or "")
        return queryset if period is None else queryset.filter(finished_at__gte=Now() - period[1])
