"""The shapes of the HTTP API of queues and of what is set by hand."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from apps.http.schemas import PAGE_LIMIT, Strict

Rate = Annotated[str | None, Field(description="As 100/m: per s, m, h or d, evenly spaced, in bursts of a tenth.")]


class QueueOut(Strict):
    name: str
    is_paused: bool
    max_concurrency: int | None
    rate_limit: str | None
    max_depth: int | None
    depth: Annotated[int, Field(description="Pending and delayed runs, as max_depth counts them.")]
    pending_count: int
    delayed_count: int
    retrying_count: int
    running_count: int
    oldest_wait_seconds: Annotated[
        float | None, Field(description="Since the oldest pending run was triggered; null where none is pending.")
    ]
    oldest_triggered_at: datetime | None
    tasks: Annotated[list[str], Field(description="Tasks whose runs go there unless their trigger says otherwise.")]


class QueuePage(Strict):
    items: list[QueueOut]
    next_cursor: str | None


class QueueQuery(Strict):
    cursor: str = ""
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT


class QueuePatch(Strict):
    """What is left out stays; null takes a limit away."""

    is_paused: bool = False
    max_concurrency: int | None = None
    rate_limit: Rate = None
    max_depth: Annotated[int | None, Field(description="A trigger beyond it is refused with 429.")] = None


class TaskPatch(Strict):
    """What is left out stays; null goes back to what the newest deployment declares."""

    is_paused: bool = False
    max_concurrency: int | None = None
    max_concurrency_total: int | None = None
    rate_limit: Rate = None
    rate_limit_per_key: Rate = None
