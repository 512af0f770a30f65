"""The schemas that all parts of the HTTP API share: strict bodies, page sizes, and a problem."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PAGE_LIMIT = 200
PAGE_DEFAULT = 50


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FieldErrorOut(Strict):
    path: str
    message: str


class ProblemOut(Strict):
    """RFC 9457, as `application/problem+json`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/payload-invalid",
                    "title": "The payload does not fit the task",
                    "status": 422,
                    "detail": "payload.items[2].price must be a number, not 'ten'",
                    "errors": [{"path": "payload.items[2].price", "message": "must be a number, not 'ten'"}],
                },
                {
                    "type": "/problems/illegal-move",
                    "title": "Not allowed in the present state",
                    "status": 409,
                    "detail": "A completed run cannot be canceled.",
                    "errors": [],
                    "state": "completed",
                },
            ]
        },
    )

    type: Annotated[str, Field(pattern=r"^/problems/[a-z0-9-]+$", description="One per kind of refusal.")]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    errors: Annotated[list[FieldErrorOut], Field(description="The fields; empty if none is to blame.")]
    state: Annotated[str, Field(description="The run's present state; only in `/problems/illegal-move`.")] = ""
    run: Annotated[
        str | None,
        Field(description="The run that the key stands for; only in `/problems/idempotency-conflict`."),
    ] = None
