"""Chainable filters over runs, named as adjectives. They read; state moves are in `lifecycle.py`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models

from apps.runs.states import DUE_STATES, FINAL_STATES, RunState

if TYPE_CHECKING:
    from apps.runs.models import Run  # noqa: F401 - named in the base class


class RunQuerySet(models.QuerySet["Run"]):
    def pending(self) -> Self:
        return self.filter(state=RunState.PENDING)

    def running(self) -> Self:
        return self.filter(state=RunState.RUNNING)

    def final(self) -> Self:
        return self.filter(state__in=FINAL_STATES)

    def unfinished(self) -> Self:
        return self.exclude(state__in=FINAL_STATES)

    def dead_letters(self) -> Self:
        return self.filter(state=RunState.DEAD_LETTER)

    def due(self, now: datetime) -> Self:
        return self.filter(state__in=DUE_STATES, due_at__lte=now)

    def for_task(self, task_id: str) -> Self:
        return self.filter(task_id=task_id)

    def tagged(self, tag: str) -> Self:
        return self.filter(tags__contains=[tag]).exclude(tags=[])  # the second names the index's condition

    def newest_first(self) -> Self:
        return self.order_by("-id")
