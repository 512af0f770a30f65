"""The shapes of the HTTP API of runs and tasks: what clients may send, and what the OpenAPI page says they get.

Answers are written by `rendering.py`, because values must go out byte for byte; tests hold them against these shapes.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from apps.runs.models import MAX_ATTEMPTS_LIMIT, PRIORITY_RANGE
from apps.runs.states import Outcome, RunState

PAGE_LIMIT = 200
PAGE_DEFAULT = 50
WAIT_SECONDS_LIMIT = 60


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TriggerOptions(Strict):
    queue: Annotated[str, Field(min_length=1, max_length=128, description="Default: the task's own queue.")] = ""
    priority: Annotated[int, Field(ge=PRIORITY_RANGE[0], le=PRIORITY_RANGE[1], description="Higher goes first.")] = 0
    concurrency_key: Annotated[str, Field(max_length=256)] = ""
    max_attempts: Annotated[
        int | None, Field(ge=1, le=MAX_ATTEMPTS_LIMIT, description="Default: the task's own number.")
    ] = None


class TriggerIn(Strict):
    payload: Annotated[Any, Field(description="The task's parameters by name; checked against its annotations.")] = None
    options: TriggerOptions = TriggerOptions()


class ErrorOut(Strict):
    type: str
    message: str
    stack: str
    reason: Annotated[str | None, Field(description="Why no attempt follows, on a dead letter.")] = None


class RunSummaryOut(Strict):
    """A run without its values, as lists show it."""

    id: str
    task: str
    state: RunState
    attempt_count: int
    max_attempts: int
    queue: str
    priority: int
    concurrency_key: str
    deployment: Annotated[str | None, Field(description="Null until the first attempt binds it.")]
    replay_of: str | None
    replay_from: Annotated[str | None, Field(description="The checkpoint that a replay starts after.")]
    is_cancel_requested: bool
    created_at: datetime
    due_at: Annotated[datetime | None, Field(description="When a waiting run becomes pending.")]
    started_at: datetime | None
    finished_at: datetime | None


class RunOut(RunSummaryOut):
    payload: Any
    output: Any
    error: Annotated[ErrorOut | None, Field(description="Of the last failed attempt.")]


class RunPage(Strict):
    items: list[RunSummaryOut]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for older runs; null at the end.")]


class WaitQuery(Strict):
    wait_seconds: Annotated[
        float, Field(ge=0, le=WAIT_SECONDS_LIMIT, description="How long to wait for the run to be final.")
    ] = 0


class RunFilters(Strict):
    state: RunState | None = None
    task: Annotated[str | None, Field(max_length=128)] = None
    queue: Annotated[str | None, Field(max_length=128)] = None
    since: Annotated[
        AwareDatetime | None, Field(description="Created at or after this time (RFC 3339, with a zone).")
    ] = None
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_DEFAULT


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


class LogLineOut(Strict):
    attempt: int
    sequence: int
    level: str
    source: str
    message: str
    fields: dict[str, Any] | None
    logged_at: datetime


class LogPage(Strict):
    items: list[LogLineOut]
    next_cursor: Annotated[
        str | None, Field(description="The place after the last line: send it as `after`, again and again to follow.")
    ]


class LogFilters(Strict):
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = PAGE_LIMIT


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


class TaskDetailOut(TaskOut):
    versions: list[TaskVersionOut]


class FieldErrorOut(Strict):
    path: str
    message: str


class ProblemOut(Strict):
    """RFC 9457, as `application/problem+json`."""

    type: Annotated[str, Field(description="`/problems/<name>`, one per kind of refusal.")]
    title: str
    status: int
    detail: str
    errors: list[FieldErrorOut]
