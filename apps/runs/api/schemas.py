"""The shapes of the HTTP API of runs and tasks: what clients may send, and what the OpenAPI page says they get.

Answers are written by `rendering.py`, because values must go out byte for byte; tests hold them against these shapes.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.http.moments import Moment
from apps.http.schemas import PAGE_DEFAULT, PAGE_LIMIT, Strict
from apps.runs.models import MAX_ATTEMPTS_LIMIT, PRIORITY_RANGE, TAG_MAX_LENGTH, TAGS_LIMIT
from apps.runs.states import Outcome, RunState
from apps.runs.trigger.options import LONGEST_SECONDS
from apps.runs.trigger.verbs import BATCH_LIMIT

WAIT_SECONDS_LIMIT = 60


Seconds = Annotated[float | None, Field(ge=0, le=LONGEST_SECONDS)]
PositiveSeconds = Annotated[float | None, Field(ge=1, le=LONGEST_SECONDS)]


class TriggerOptions(Strict):
    """For the document alone: `trigger_options.py` checks, at this door as at all others."""

    queue: Annotated[str | None, Field(min_length=1, max_length=128, description="Default: the task's own queue.")] = (
        None
    )
    priority: Annotated[
        int | None, Field(ge=PRIORITY_RANGE[0], le=PRIORITY_RANGE[1], description="Higher goes first; default 0.")
    ] = None
    concurrency_key: Annotated[
        str | None, Field(max_length=256, description="Default: as the task takes it from the payload.")
    ] = None
    delay_seconds: Annotated[Seconds, Field(description="From now until it is due.")] = None
    run_at: Annotated[Moment | None, Field(description="When it is due, instead of a delay; in the past: at once.")] = (
        None
    )
    ttl_seconds: Annotated[
        PositiveSeconds, Field(description="It expires if it has not started so long after it is due.")
    ] = None
    idempotency_key: Annotated[
        str | None, Field(min_length=1, max_length=256, description="Repeats with it get the same run.")
    ] = None
    idempotency_key_ttl_seconds: Annotated[
        PositiveSeconds, Field(description="How long the key is kept; default 30 days.")
    ] = None
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=TAG_MAX_LENGTH)]] | None,
        Field(description=f"At most {TAGS_LIMIT} different ones."),
    ] = None
    max_attempts: Annotated[
        int | None, Field(ge=1, le=MAX_ATTEMPTS_LIMIT, description="Default: the task's own number.")
    ] = None
    metadata: Annotated[dict[str, Any] | None, Field(description="Shown on the run; at most 64 KB of JSON.")] = None
    traceparent: Annotated[str | None, Field(description="W3C trace context; default: the header of that name.")] = None


class TriggerIn(Strict):
    payload: Annotated[Any, Field(description="The task's parameters by name; checked against its annotations.")] = None
    options: TriggerOptions = TriggerOptions()


class BatchItemIn(TriggerIn):
    task: str


class BatchIn(Strict):
    items: Annotated[list[BatchItemIn], Field(min_length=1, max_length=BATCH_LIMIT)]


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
    tags: list[str]
    idempotency_key: str | None
    deployment: Annotated[str | None, Field(description="Null until the first attempt binds it.")]
    replay_of: str | None
    replay_from: Annotated[str | None, Field(description="The checkpoint that a replay starts after.")]
    is_cancel_requested: bool
    created_at: datetime
    due_at: Annotated[datetime | None, Field(description="When a waiting run becomes pending.")]
    expires_at: Annotated[datetime | None, Field(description="It expires unless it has started by then.")]
    started_at: datetime | None
    finished_at: datetime | None


class WaitingReasonOut(Strict):
    """Why a run does not run, in the order in which a claim judges."""

    code: Annotated[str, Field(description="Stable, for programs, as `key_limit`; the words are in docs/queues.md.")]
    text: Annotated[str, Field(description="One sentence for people.")]
    blocking_runs: Annotated[list[str], Field(description="Some of the runs that it waits for, at most 5.")]
    until: datetime | None


class RunOut(RunSummaryOut):
    payload: Any
    output: Any
    error: Annotated[ErrorOut | None, Field(description="Of the last failed attempt.")]
    metadata: dict[str, Any] | None
    trace_id: Annotated[str | None, Field(description="Of the trace that triggered it; null where none did.")]
    note: Annotated[str | None, Field(description="Why a person discarded it.")]
    waiting_reason: Annotated[
        WaitingReasonOut | None, Field(description="Only where one run is read; null where it is not waiting.")
    ]


class TriggeredOut(RunOut):
    is_duplicate: Annotated[bool, Field(description="True: the run was there, by its idempotency key.")]


class TriggeredSummaryOut(RunSummaryOut):
    is_duplicate: bool


class BatchOut(Strict):
    """The runs in the order of the items, without their values."""

    items: list[TriggeredSummaryOut]


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
    tag: Annotated[str | None, Field(max_length=TAG_MAX_LENGTH)] = None
    since: Annotated[Moment | None, Field(description="Created at or after this time (RFC 3339, with an offset).")] = (
        None
    )
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
