"""Rows of runs, attempts, log lines and tasks as the API shows them."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from apps.http.answers import json_field, raw_value, timestamp
from apps.runs.models import Attempt, LogLine, Run, Task, TaskVersion
from apps.storage.ids import public_id


def run_summary(run: Run) -> dict[str, Any]:
    return {
        "id": run.public_id,
        "task": run.task_id,
        "state": run.state,
        "attempt_count": run.attempt_count,
        "max_attempts": run.max_attempts,
        "queue": run.queue,
        "priority": run.priority,
        "concurrency_key": run.concurrency_key,
        "tags": run.tags,
        "idempotency_key": run.idempotency_key or None,
        "deployment": _optional_id("dep", run.deployment_id),
        "replay_of": _optional_id("run", run.replay_of_id),
        "replay_from": run.replay_from or None,
        "is_cancel_requested": run.is_cancel_requested,
        "created_at": timestamp(run.created_at),
        "due_at": timestamp(run.due_at),
        "expires_at": timestamp(run.expires_at),
        "started_at": timestamp(run.started_at),
        "finished_at": timestamp(run.finished_at),
    }


def run_detail(run: Run, *, waiting_reason: dict[str, Any] | None = None) -> dict[str, Any]:
    """With the values; the caller has loaded `run.value`, and asked why the run waits where that is to be told."""
    value = run.value
    return {
        **run_summary(run),
        "payload": raw_value(value.payload),
        "output": raw_value(value.output),
        "error": json_field(value.error),
        "metadata": json_field(value.metadata),
        "trace_id": value.traceparent[3:35] or None,
        "note": value.note or None,
        "waiting_reason": waiting_reason,
    }


def attempt_row(attempt: Attempt, worker_names: Mapping[UUID, str]) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome or None,
        "worker": public_id("wrk", attempt.worker_id),
        "worker_name": worker_names.get(attempt.worker_id),
        "deployment": _optional_id("dep", attempt.deployment_id),
        "container": attempt.container or None,
        "start_kind": attempt.start_kind or None,
        "resumed_from": attempt.resumed_from,
        "peak_memory_bytes": attempt.peak_memory_bytes,
        "exit_code": attempt.exit_code,
        "error": json_field(attempt.error),
        "claimed_at": timestamp(attempt.claimed_at),
        "started_at": timestamp(attempt.started_at),
        "finished_at": timestamp(attempt.finished_at),
    }


def log_row(line: LogLine) -> dict[str, Any]:
    return {
        "attempt": line.attempt,
        "sequence": line.sequence,
        "level": line.level,
        "source": line.source,
        "message": line.message,
        "fields": json_field(line.fields),
        "logged_at": timestamp(line.logged_at),
    }


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


def version_rows(versions: Iterable[TaskVersion]) -> list[dict[str, Any]]:
    return [
        {
            "deployment": version.deployment.public_id,
            "version": version.deployment.version,
            "created_at": timestamp(version.deployment.created_at),
        }
        for version in versions
    ]


def _optional_id(prefix: str, identifier: UUID | None) -> str | None:
    return None if identifier is None else public_id(prefix, identifier)
