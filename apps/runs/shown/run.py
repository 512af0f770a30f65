"""A run as the HTTP API shows it: its schemas, and the functions that write them.

Written by hand because values must go out byte for byte; tests check the answers against the schemas."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from apps.http.answers import json_field, raw_value, timestamp
from apps.http.schemas import Strict
from apps.runs.models import Run
from apps.runs.states import RunState
from apps.runs.waiting import Reason
from apps.storage.ids import public_id


class ErrorOut(Strict):
    type: str
    message: str
    stack: str
    reason: Annotated[str | None, Field(description="Why no attempt follows; only on a dead letter.")] = None


class RunSummaryOut(Strict):
    """A run without its values, as lists show it."""

    id: str
    task: str
    state: RunState
    attempt_count: int
    max_attempts: int
    attempt_limit: Annotated[
        int,
        Field(description="The highest number that its attempts can reach: some do not count, a requeue adds more."),
    ]
    queue: str
    priority: int
    concurrency_key: str
    tags: list[str]
    idempotency_key: str | None
    deployment: Annotated[str | None, Field(description="Null until the first attempt binds it.")]
    replay_of: str | None
    replay_from: Annotated[str | None, Field(description="The checkpoint that a replay starts after.")]
    is_cancel_requested: bool
    created_at: datetime
    due_at: Annotated[datetime | None, Field(description="When a waiting run becomes pending.")]
    expires_at: Annotated[datetime | None, Field(description="The run expires unless it has started by then.")]
    started_at: datetime | None
    finished_at: datetime | None
    dead_letter_seconds: Annotated[
        float, Field(description="How long it was a dead letter before people requeued it; no part of its duration.")
    ]


class WaitingReasonOut(Strict):
    """Why a run is not running, judged in the same order as a claim."""

    code: Annotated[str, Field(description="Stable, for programs, such as `key_limit`; docs/queues.md lists them.")]
    text: Annotated[str, Field(description="One sentence for people.")]
    blocking_runs: Annotated[list[str], Field(description="Some of the runs that it waits for, at most 5.")]
    until: datetime | None


class RunOut(RunSummaryOut):
    payload: Any
    output: Any
    error: Annotated[ErrorOut | None, Field(description="The error of the last failed attempt.")]
    metadata: dict[str, Any] | None
    trace_id: Annotated[str | None, Field(description="The id of the trace that triggered it; null if there was none.")]
    note: Annotated[str | None, Field(description="Why a person discarded it.")]
    waiting_reason: Annotated[
        WaitingReasonOut | None, Field(description="Only when a single run is read; null if it is not waiting.")
    ]


class RunPage(Strict):
    items: list[RunSummaryOut]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for older runs; null at the end.")]


def run_row(run: Run) -> dict[str, Any]:
    return {
        "id": run.public_id,
        "task": run.task_id,
        "state": run.state,
        "attempt_count": run.attempt_count,
        "max_attempts": run.max_attempts,
        "attempt_limit": run.attempt_limit,
        "queue": run.queue,
        "priority": run.priority,
        "concurrency_key": run.concurrency_key,
        "tags": run.tags,
        "idempotency_key": run.idempotency_key or None,
        "deployment": optional_id("dep", run.deployment_id),
        "replay_of": optional_id("run", run.replay_of_id),
        "replay_from": run.replay_from or None,
        "is_cancel_requested": run.is_cancel_requested,
        "created_at": timestamp(run.created_at),
        "due_at": timestamp(run.due_at),
        "expires_at": timestamp(run.expires_at),
        "started_at": timestamp(run.started_at),
        "finished_at": timestamp(run.finished_at),
        "dead_letter_seconds": run.dead_letter_seconds,
    }


def run_detail(run: Run, *, waiting_reason: dict[str, Any] | None = None) -> dict[str, Any]:
    """The run with its values; the caller has loaded `run.value`, and asked why the run waits if that is shown."""
    value = run.value
    return {
        **run_row(run),
        "payload": raw_value(value.payload),
        "output": raw_value(value.output),
        "error": json_field(value.error),
        "metadata": json_field(value.metadata),
        "trace_id": value.traceparent[3:35] or None,
        "note": value.note or None,
        "waiting_reason": waiting_reason,
    }


def reason_row(reason: Reason | None) -> dict[str, Any] | None:
    """The reason as the API shows it."""
    if reason is None:
        return None
    return {
        "code": reason.code,
        "text": reason.sentence,
        "blocking_runs": list(reason.blocking_runs),
        "until": timestamp(reason.until),
    }


def optional_id(prefix: str, identifier: UUID | None) -> str | None:
    return None if identifier is None else public_id(prefix, identifier)
