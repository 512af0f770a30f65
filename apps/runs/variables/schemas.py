"""The schemas of the HTTP API of variables. No answer has a value."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from apps.http.answers import timestamp
from apps.http.schemas import Strict
from apps.runs.models import Variable

SetName = Annotated[str | None, Field(description="The task set whose tasks get it; null: those of all sets.")]


class VariableIn(Strict):
    value: str
    task_set: SetName = None


class VariableQuery(Strict):
    task_set: str = ""


class VariableOut(Strict):
    """A variable without its value, which is never shown again."""

    name: str
    task_set: SetName
    version: Annotated[int, Field(description="Counts its changes from 1.")]
    changed_at: datetime
    changed_by: str


class VariableSetOut(VariableOut):
    is_deployed: Annotated[bool, Field(description="False: no deployment has this task set yet.")]


class VariableList(Strict):
    items: list[VariableOut]


def variable_row(row: Variable) -> dict[str, Any]:
    return {
        "name": row.name,
        "task_set": row.task_set or None,
        "version": row.version,
        "changed_at": timestamp(row.changed_at),
        "changed_by": row.changed_by,
    }
