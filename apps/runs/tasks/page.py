"""What the tasks page shows, read in four queries. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Subquery

from apps.runs.badges import Badge, state_badge
from apps.runs.models import Run, Task, TaskControl, TaskVersion
from apps.runs.tasks.limits import TaskLimits, task_limits


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task as one row: what its newest deployment declares, and how its newest run stands."""

    id: str
    task_set: str
    version: int
    source: str
    resume_points: Sequence[str]
    is_retired: bool
    limits: TaskLimits
    last_run_id: str
    last_run_badge: Badge | None
    last_run_at: datetime | None


def task_lines() -> list[TaskLine]:
    """All tasks by their id, retired ones last; four queries."""
    newest = Run.objects.filter(task_id=OuterRef("pk")).newest_first()
    tasks = (
        Task.objects.select_related("deployment")
        .annotate(last_run_id=Subquery(newest.values("id")[:1]))
        .order_by("is_retired", "id")
    )
    rows = list(tasks)
    runs = Run.objects.in_bulk([row.last_run_id for row in rows if row.last_run_id])
    current = TaskVersion.objects.filter(deployment__in={row.deployment_id for row in rows})
    versions = {(version.deployment_id, version.task_id): version for version in current}
    controls = TaskControl.objects.in_bulk([row.id for row in rows])
    return [
        _task_line(row, versions.get((row.deployment_id, row.id)), runs.get(row.last_run_id), controls.get(row.id))
        for row in rows
    ]


def _task_line(task: Task, version: TaskVersion | None, run: Run | None, control: TaskControl | None) -> TaskLine:
    points = version.resume_points if version else []
    return TaskLine(
        id=task.id,
        task_set=task.task_set,
        version=task.deployment.version,
        source=f"{version.file}:{version.line}" if version else "",
        resume_points=[str(point["key"]) for point in points],
        is_retired=task.is_retired,
        limits=task_limits(version.options if version else {}, control),
        last_run_id=run.public_id if run else "",
        last_run_badge=state_badge(run.state) if run else None,
        last_run_at=run.created_at if run else None,
    )
