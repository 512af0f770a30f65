"""What the verbs of `runs` refuse, as named errors; `trigger_site/web/api.py` maps them to HTTP."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint about one field; `path` is as `payload.items[2].price`."""

    path: str
    message: str


class RunsError(Exception):
    """Base of all refusals; `errors` names the fields where there are any."""

    title = "Refused"

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    def within(self, place: str) -> Self:
        """The same refusal, of one item among several."""
        found = self.errors or (FieldError("", self.detail),)
        self.errors = tuple(FieldError(f"{place}.{error.path}".rstrip("."), error.message) for error in found)
        self.detail = f"{place}: {self.detail}"
        self.args = (self.detail,)
        return self


class TaskNotFound(RunsError):
    title = "No such task"


class TaskRetired(RunsError):
    title = "The task is retired"


class PayloadMalformed(RunsError):
    title = "Malformed JSON"


class PayloadInvalid(RunsError):
    title = "The payload does not fit the task"


class PayloadTooLarge(RunsError):
    title = "The payload is too large"


class OptionInvalid(RunsError):
    title = "A trigger option is not valid"


class BatchInvalid(RunsError):
    """A batch that is empty, too long, or not made of items; `errors` name them."""

    title = "The batch is not valid"


class IdempotencyConflict(RunsError):
    """The key stands for a run with another payload or other options; `run` is its public id."""

    title = "The idempotency key stands for another trigger"

    def __init__(self, detail: str, errors: tuple[FieldError, ...], run: str) -> None:
        super().__init__(detail, errors)
        self.run = run


class RunNotFound(RunsError):
    title = "No such run"


class IllegalMove(RunsError):
    """A verb found the run in a state that it does not expect; `state` is the present one."""

    title = "Not allowed in the present state"

    def __init__(self, detail: str, state: str) -> None:
        super().__init__(detail)
        self.state = state


class DeploymentRefused(RunsError):
    """A folder that cannot be deployed; `errors` carry `file:line` as their path."""

    title = "The deployment was refused"
