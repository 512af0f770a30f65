"""The shapes of the HTTP API of dead letters."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from apps.http.filters import with_filters
from apps.http.schemas import PAGE_DEFAULT, PAGE_LIMIT, FieldErrorOut, Strict
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.runs.shown.deployment import DeploymentOut
from apps.runs.shown.run import RunSummaryOut


class RequeueIn(Strict):
    deployment: Annotated[str, Field(max_length=64, description='"original", "latest" or an id.')] = "original"


class RequeuePreviewOut(Strict):
    resumes_after: Annotated[str | None, Field(description="Where the code continues; null: at its start.")]
    deployment: DeploymentOut
    is_code_changed: Annotated[
        bool | None, Field(description="Whether code that is not repeated is another one now; null: unknown.")
    ]
    refusals: Annotated[list[FieldErrorOut], Field(description="Why it would be refused; empty where it would not.")]
    warnings: list[str]


class DiscardIn(Strict):
    note: Annotated[str, Field(description="Why; 1 to 2,000 characters.")]


@with_filters(DEAD_LETTER_FILTERS)
class DeadLetterFilterIn(Strict):
    """All that is given must fit."""


class DeadLetterQuery(DeadLetterFilterIn):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_DEFAULT


class DeadLetterOut(RunSummaryOut):
    error_type: str | None
    error_message: str | None
    reason: Annotated[str | None, Field(description="Why no attempt follows.")]


class DeadLetterPage(Strict):
    items: list[DeadLetterOut]
    next_cursor: Annotated[str | None, Field(description="Send it as `cursor` for older ones; null at the end.")]


class DeadLetterGroupOut(Strict):
    task: str
    error_type: str | None
    count: int
    first_at: datetime
    last_at: datetime


class DeadLetterGroupsOut(Strict):
    items: Annotated[list[DeadLetterGroupOut], Field(description="The largest group first.")]
    is_complete: Annotated[bool, Field(description="False where only the newest 10,000 were grouped.")]


class ManyIn(Strict):
    """Either `ids` or `filter`; an empty filter means all."""

    ids: Annotated[list[str] | None, Field(description="At most 10,000.")] = None
    filter: DeadLetterFilterIn | None = None
    cursor: Annotated[str, Field(description="The `next` of an earlier call with the same filter.")] = ""


class RequeueManyIn(ManyIn):
    deployment: Annotated[str, Field(max_length=64, description='"original", "latest" or an id.')] = "original"
    rate: Annotated[str | None, Field(description="As 10/s: they become pending one after the other.")] = None


class DiscardManyIn(ManyIn):
    note: Annotated[str, Field(description="Why; 1 to 2,000 characters.")]


class RefusedOut(Strict):
    id: str
    reason: str


class ManyOut(Strict):
    count: Annotated[int, Field(description="How many were moved.")]
    refused_count: int
    refused: Annotated[list[RefusedOut], Field(description="The first 1,000; they are as they were.")]
    next: Annotated[str | None, Field(description="Send it as `cursor` for what is left; null where nothing is.")]
