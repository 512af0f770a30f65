"""Reads of the HTTP API: runs and log lines by pages, keyset and never offset; tasks with their versions."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q

from apps.http.cursors import read_cursor, read_run_cursor, write_cursor, write_run_cursor
from apps.runs.api.schemas import LogFilters, RunFilters
from apps.runs.errors import RunNotFound
from apps.runs.models import LogLine, Run, Task, TaskVersion
from apps.runs.tasks.terms import refuse_unknown_task
from apps.storage.ids import parse_public_id, public_id

CLOCK_MARGIN = timedelta(hours=1)
"""Ids carry the clock of the web process, `created_at` the database's: so far apart they may be."""


def run_id_of(text: str) -> UUID:
    """The UUID of a run's public id; raises RunNotFound where it cannot be one."""
    run_id = parse_public_id("run", text)
    if run_id is None:
        raise RunNotFound(f"There is no run {text[:64]!r}.")
    return run_id


def find_run(run_id: UUID) -> Run:
    """The run with its values; raises RunNotFound."""
    run = Run.objects.filter(id=run_id).select_related("value").first()
    if run is None:
        raise RunNotFound(f"There is no run {public_id('run', run_id)!r}.")
    return run


def require_run(run_id: UUID) -> None:
    """Raises RunNotFound; for the lists of a run, which may be empty."""
    if not Run.objects.filter(id=run_id).exists():
        raise RunNotFound(f"There is no run {public_id('run', run_id)!r}.")


def run_page(filters: RunFilters) -> tuple[list[Run], str | None]:
    """The newest runs that fit, and the cursor of the page after them."""
    runs = Run.objects.newest_first()
    if filters.state is not None:
        runs = runs.filter(state=filters.state)
    if filters.task is not None:
        runs = runs.for_task(filters.task)
    if filters.queue is not None:
        runs = runs.filter(queue=filters.queue)
    if filters.tag is not None:
        runs = runs.tagged(filters.tag)
    if filters.since is not None:
        runs = runs.filter(created_at__gte=filters.since, id__gte=_first_id_at(filters.since - CLOCK_MARGIN))
    if filters.cursor is not None:
        runs = runs.filter(id__lt=read_run_cursor("runs", filters.cursor))
    found = list(runs[: filters.limit + 1])
    page = found[: filters.limit]
    return page, write_run_cursor("runs", page[-1].id) if len(found) > len(page) else None


def log_page(run_id: UUID, filters: LogFilters) -> tuple[list[LogLine], str | None]:
    """The lines after the cursor in the order (attempt, sequence), and the cursor after the last of them."""
    lines = LogLine.objects.filter(run_id=run_id).order_by("attempt", "sequence")
    if filters.after is not None:
        attempt, sequence = read_cursor("logs", filters.after, int, int, name="after")
        lines = lines.filter(Q(attempt=attempt, sequence__gt=sequence) | Q(attempt__gt=attempt))
    page = list(lines[: filters.limit])
    return page, write_cursor("logs", page[-1].attempt, page[-1].sequence) if page else filters.after


def current_versions() -> list[tuple[Task, TaskVersion]]:
    """Every task with its version in the newest deployment that has it, by id."""
    tasks = {task.id: task for task in Task.objects.order_by("id")}
    versions = TaskVersion.objects.filter(deployment__current_tasks__isnull=False).select_related("deployment")
    found = {(v.task_id, v.deployment_id): v for v in versions.defer("deployment__archive").distinct()}
    return [(task, found[task.id, task.deployment_id]) for task in tasks.values()]


def find_task(task_id: str) -> tuple[Task, list[TaskVersion]]:
    """The task, retired or not, with its versions, newest first; raises TaskNotFound naming near misses."""
    task = Task.objects.filter(id=task_id).first()
    if task is None:
        refuse_unknown_task(task_id)
    versions = TaskVersion.objects.filter(task_id=task_id, deployment__task_set=task.task_set)
    return task, list(
        versions.select_related("deployment").defer("deployment__archive").order_by("-deployment__version")
    )


def _first_id_at(at: datetime) -> UUID:
    """The smallest UUIDv7 of that time: what the index on ids begins at."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)
