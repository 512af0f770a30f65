"""What the verbs of `runs` refuse."""

from collections.abc import Mapping
from typing import Any

from apps.http.errors import FieldError, Refusal


class TaskNotFound(Refusal):
    title = "No such task"
    status = 404


class TaskRetired(Refusal):
    title = "The task is retired"
    status = 409


class OptionInvalid(Refusal):
    title = "A trigger option is not valid"
    status = 422


class BatchInvalid(Refusal):
    """A batch that is empty, too long, or not made of items; `errors` names them."""

    title = "The batch is not valid"
    status = 422


class IdempotencyConflict(Refusal):
    """The key stands for a run with another payload or other options; `run` is its public id."""

    title = "The idempotency key stands for another trigger"
    status = 409

    def __init__(self, detail: str, errors: tuple[FieldError, ...], run: str) -> None:
        super().__init__(detail, errors)
        self.run = run

    @property
    def members(self) -> Mapping[str, Any]:
        return {"run": self.run or None}


class IdempotencyKeyNotFound(Refusal):
    title = "No such idempotency key"
    status = 404


class VariableInvalid(Refusal):
    """A variable whose name, value or task set cannot be; `errors` names the field. No text contains a value."""

    title = "The variable is not valid"
    status = 422


class VariableNotFound(Refusal):
    title = "No such variable"
    status = 404


class RunNotFound(Refusal):
    title = "No such run"
    status = 404


class IllegalMove(Refusal):
    """A verb found the run in an unexpected state; `state` is the present one."""

    title = "Not allowed in the present state"
    status = 409

    def __init__(self, detail: str, state: str) -> None:
        super().__init__(detail)
        self.state = state

    @property
    def members(self) -> Mapping[str, Any]:
        return {"state": self.state}


class DeploymentRefused(Refusal):
    """A folder that cannot be deployed; `errors` have `file:line` as their path."""

    title = "The deployment was refused"
    status = 422
