"""The shapes of the HTTP API of checkpoints."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.checkpoints.models import Kind
from apps.http.schemas import Strict


class CheckpointSummaryOut(Strict):
    """A checkpoint without its data, as the list shows it."""

    key: str
    kind: Annotated[
        Kind, Field(description="Only behind a checkpoint can code continue; a step gives its result again.")
    ]
    index: Annotated[int, Field(description="Commit order in the run, from 0.")]
    size_bytes: int
    binds: Annotated[list[str], Field(description="Names that a resume binds from the data.")]
    has_carried: Annotated[bool, Field(description="Whether changed names of earlier points were saved along.")]
    attempt: Annotated[int, Field(description="The attempt that saved it; 0 where a replay brought it along.")]
    is_edited: Annotated[bool, Field(description="A person gave it this data, for a replay.")]
    duration_seconds: Annotated[float | None, Field(description="How long the function of a step ran.")]
    created_at: datetime


class CheckpointOut(CheckpointSummaryOut):
    data: Any
    carried: Any


class CheckpointList(Strict):
    items: list[CheckpointSummaryOut]
