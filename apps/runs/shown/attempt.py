"""An attempt as the HTTP API shows it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from apps.http.answers import json_field, timestamp
from apps.http.schemas import Strict
from apps.runs.models import Attempt
from apps.runs.shown.run import ErrorOut, optional_id
from apps.runs.states import Outcome
from apps.storage.ids import public_id


class AttemptOut(Strict):
    number: int
    outcome: Annotated[Outcome | None, Field(description="Null while it is alive.")]
    worker: str
    worker_name: str | None
    deployment: str | None
    container: str | None
    start_kind: str | None
    resumed_from: Annotated[str | None, Field(description="The checkpoint it continued after; null: the start.")]
    peak_memory_bytes: int | None
    exit_code: int | None
    error: ErrorOut | None
    claimed_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class AttemptList(Strict):
    items: list[AttemptOut]


def attempt_row(attempt: Attempt, worker_names: Mapping[UUID, str]) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome or None,
        "worker": public_id("wrk", attempt.worker_id),
        "worker_name": worker_names.get(attempt.worker_id),
        "deployment": optional_id("dep", attempt.deployment_id),
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
