"""What clients may send to the HTTP API of runs, and what a trigger is answered with. How things look is in `shown`."""

from typing import Annotated, Any

from pydantic import Field

from apps.http.filters import with_filters
from apps.http.moments import Moment
from apps.http.schemas import PAGE_DEFAULT, PAGE_LIMIT, Strict
from apps.runs.list.filters import RUN_FILTERS
from apps.runs.models import MAX_ATTEMPTS_LIMIT, PRIORITY_RANGE, TAG_MAX_LENGTH, TAGS_LIMIT
from apps.runs.shown.run import RunOut, RunSummaryOut
from apps.runs.trigger.create import BATCH_LIMIT
from apps.runs.trigger.options import LONGEST_SECONDS

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


class TriggeredOut(RunOut):
    is_duplicate: Annotated[bool, Field(description="True: the run was there, by its idempotency key.")]


class TriggeredSummaryOut(RunSummaryOut):
    is_duplicate: bool


class BatchOut(Strict):
    """The runs in the order of the items, without their values."""

    items: list[TriggeredSummaryOut]


class WaitQuery(Strict):
    wait_seconds: Annotated[
        float, Field(ge=0, le=WAIT_SECONDS_LIMIT, description="How long to wait for the run to be final.")
    ] = 0


@with_filters(RUN_FILTERS)
class RunFilters(Strict):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_DEFAULT


class LogFilters(Strict):
    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = PAGE_LIMIT
