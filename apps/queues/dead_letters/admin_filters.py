"""The filters of the dead letters in Django's admin. Their choices come from the newest ones, by one query for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from apps.http.filters import Filter
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.queues.dead_letters.selection import FACETS, recent_facets
from apps.queues.models import DeadLetter

PERIODS = {
    "hour": ("The last hour", timedelta(hours=1)),
    "day": ("The last 24 hours", timedelta(days=1)),
    "week": ("The last 7 days", timedelta(days=7)),
}


def _facets(request: HttpRequest) -> Mapping[str, Sequence[str]]:
    found: Mapping[str, Sequence[str]] | None = getattr(request, "_dead_letter_facets", None)
    if found is None:
        found = recent_facets()
        request._dead_letter_facets = found  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark on the request
    return found


class FacetFilter(SimpleListFilter):
    """One value of one filter; a value from an old address is offered too, so that it filters."""

    filter: ClassVar[Filter]

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        known = list(_facets(request)[self.filter.name])
        chosen = self.value()
        return [(value, value) for value in ([*known, chosen] if chosen and chosen not in known else known)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        chosen = self.value()
        if chosen is None:
            return queryset
        value = self.filter.parse(chosen)
        return queryset.none() if value is None else queryset.filter(self.filter.condition([value]))


def facet_filter(record: Filter) -> type[FacetFilter]:
    parts = {"filter": record, "title": record.label, "parameter_name": record.name}
    return type(f"{record.name}_filter", (FacetFilter,), parts)


class SinceFilter(SimpleListFilter):
    title, parameter_name = "dead since", "since"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
        period = PERIODS.get(self.value() or "")
        return queryset if period is None else queryset.filter(finished_at__gte=Now() - period[1])


LIST_FILTERS = (*(facet_filter(DEAD_LETTER_FILTERS[name]) for name in FACETS), SinceFilter)
