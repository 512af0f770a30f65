"""The shapes of the HTTP API of dead letters."""

from typing import Annotated

from pydantic import Field

from apps.checkpoints.schemas import DeploymentOut
from apps.runs.schemas import FieldErrorOut, Strict


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
