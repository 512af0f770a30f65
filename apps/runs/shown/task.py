"""A task as the HTTP API shows it: as its newest deployment declares it, with what people have set and how it fails."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.http.answers import json_field, timestamp
from apps.http.schemas import Strict
from apps.runs.models import (
    Task,
    TaskControl,
    TaskVersion,
)
from apps.runs.tasks.limits import limits_row, task_limits
from apps.runs.tasks.versions import find_task
from apps.storage.ids import public_id


class TaskOut(Strict):
    id: str
    task_set: str
    is_retired: bool
    deployment: str
    version: int
    options: dict[str, Any]
    payload_schema: dict[str, Any]
    resume_points: list[dict[str, Any]]
    file: str
    line: int


class TaskList(Strict):
    items: list[TaskOut]


class TaskVersionOut(Strict):
    deployment: str
    version: int
    created_at: datetime


class LimitOut(Strict):
    declared: Annotated[int | str | None, Field(description="By the newest deployment.")]
    override: Annotated[int | str | None, Field(description="Set by hand; survives deployments.")]
    effective: int | str | None


class TaskLimitsOut(Strict):
    max_concurrency: LimitOut
    max_concurrency_total: LimitOut
    rate_limit: LimitOut
    rate_limit_per_key: LimitOut


class TaskDetailOut(TaskOut):
    is_paused: bool
    limits: TaskLimitsOut
    failing_count: Annotated[int, Field(description="Distinct runs that have failed since the last success.")]
    cooling_until: Annotated[datetime | None, Field(description="Null where the task does not cool down.")]
    versions: list[TaskVersionOut]


def task_row(task: Task, version: TaskVersion) -> dict[str, Any]:
    return {
        "id": task.id,
        "task_set": task.task_set,
        "is_retired": task.is_retired,
        "deployment": public_id("dep", task.deployment_id),
        "version": version.deployment.version,
        "options": json_field(version.options),
        "payload_schema": json_field(version.payload_schema),
        "resume_points": json_field(version.resume_points),
        "file": version.file,
        "line": version.line,
    }


def task_detail(task_id: str) -> dict[str, Any]:
    found, versions = find_task(task_id)
    current = next(version for version in versions if version.deployment_id == found.deployment_id)
    limits = task_limits(current.options, TaskControl.objects.filter(task_id=found.id).first())
    return {**task_row(found, current), **limits_row(limits), "versions": version_rows(versions)}


def version_rows(versions: Iterable[TaskVersion]) -> list[dict[str, Any]]:
    return [
        {
            "deployment": version.deployment.public_id,
            "version": version.deployment.version,
            "created_at": timestamp(version.deployment.created_at),
        }
        for version in versions
    ]
