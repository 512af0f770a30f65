"""The shapes of the HTTP API of checkpoints and replays."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.runs.schemas import Strict


class CheckpointSummaryOut(Strict):
    """A checkpoint without its data, as the list shows it."""

    key: str
    index: Annotated[int, Field(description="Commit order in the run, from 0.")]
    size_bytes: int
    binds: Annotated[list[str], Field(description="Names that a resume binds from the data.")]
    has_carried: Annotated[bool, Field(description="Whether changed names of earlier points were saved along.")]
    attempt: Annotated[int, Field(description="The attempt that saved it; 0 where a replay brought it along.")]
    created_at: datetime


class CheckpointOut(CheckpointSummaryOut):
    data: Any
    carried: Any


class CheckpointList(Strict):
    items: list[CheckpointSummaryOut]


class ReplayIn(Strict):
    from_checkpoint: Annotated[str | None, Field(description="The key to start after; null: from the start.")] = None
