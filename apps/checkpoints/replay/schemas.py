"""The shapes of the HTTP API of replays."""

from typing import Annotated, Any

from pydantic import Field

from apps.checkpoints.models import Kind
from apps.http.schemas import PAGE_DEFAULT, PAGE_LIMIT, FieldErrorOut, Strict
from apps.runs.shown.deployment import DeploymentOut


class ReplayIn(Strict):
    from_checkpoint: Annotated[
        str | None, Field(description="The checkpoint or step to start after; null: from the start.")
    ] = None
    payload: Annotated[Any, Field(description="Another payload; left out: the original's.")] = None
    checkpoint_data: Annotated[
        dict[str, Any], Field(description="New data by key, for what is reused; it replaces the data whole.")
    ] = {}
    deployment: Annotated[str, Field(max_length=64, description='"original", "latest" or an id.')] = "original"
    new_idempotency_keys: Annotated[
        bool, Field(description="Never the original's keys; edits of payload or data bring new ones anyhow.")
    ] = False


class ReusedOut(Strict):
    key: str
    kind: Kind
    index: int
    size_bytes: int
    is_edited: bool
    is_code_changed: Annotated[bool | None, Field(description="Null: the source of one side is unknown.")]


class SegmentOut(Strict):
    """The code between two resume points of the chosen deployment."""

    from_key: Annotated[str | None, Field(description="Null: the start of the function.")]
    to_key: Annotated[str | None, Field(description="Null: its end.")]
    is_reused: bool
    is_changed: bool | None


class ReplayPreviewOut(Strict):
    deployment: DeploymentOut
    original_deployment: Annotated[DeploymentOut | None, Field(description="Null: the run has never started.")]
    newest_deployment: DeploymentOut
    is_other_deployment: bool
    resumes_after: Annotated[str | None, Field(description="Where the code continues; null: at its start.")]
    reused: list[ReusedOut]
    runs_again: Annotated[list[str], Field(description="Keys of the original that are made anew.")]
    segments: list[SegmentOut]
    uses_original_keys: Annotated[bool, Field(description="Whether `idempotency_key()` gives the original's keys.")]
    keys_reason: str
    concurrency_key: Annotated[
        str, Field(description="Taken from the payload, unless the original was given its own; empty: none.")
    ]
    original_concurrency_key: str
    warnings: list[str]
    refusals: Annotated[list[FieldErrorOut], Field(description="Why it would be refused; empty where it would not.")]


class ReplayFilters(Strict):
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_DEFAULT
