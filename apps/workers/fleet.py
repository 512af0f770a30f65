"""Reads the workers for the pages of lower apps (see `apps.runs.fleet`). Owns no rows and changes none."""

from collections.abc import Iterable
from uuid import UUID

from django.db.models.functions import Now

from apps.runs.fleet import ANSWERS_WITHIN, Fleet
from apps.workers.models import Worker

ISOLATING_EXECUTORS = frozenset({"docker", "kubernetes"})


class WorkerFleet:
    """Answers from the database each time; the table holds one row per start of a worker."""

    def summary(self) -> Fleet:
        live = Worker.objects.filter(stopped_at=None, last_seen_at__gte=Now() - ANSWERS_WITHIN)
        rows = list(live.order_by("-started_at").values_list("executor", "executor_note", "concurrency"))
        notes = [note for executor, note, _ in rows if executor not in ISOLATING_EXECUTORS]
        return Fleet(
            worker_count=len(rows),
            slot_count=sum(concurrency for _, _, concurrency in rows),
            isolation_note=_isolation_note(notes) if notes else "",
        )

    def names(self, worker_ids: Iterable[UUID]) -> dict[UUID, str]:
        return dict(Worker.objects.filter(id__in=set(worker_ids)).values_list("id", "name"))


def _isolation_note(notes: list[str]) -> str:
    """Returns the newest worker's own note on what runs the tasks and why."""
    return next(filter(None, notes), "Tasks run as child processes, without isolation.")
