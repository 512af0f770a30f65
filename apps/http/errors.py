"""Refusals: what a verb or a door will not do, as named errors that carry their HTTP status. Owns no rows.

Each app's `errors.py` derives its own; `problems.py` writes them as problem+json and needs no list of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """One complaint about one field; `path` is as `payload.items[2].price`."""

    path: str
    message: str


class Refusal(Exception):
    """Base of all refusals; `errors` names the fields where there are any."""

    title: ClassVar[str] = "Refused"
    status: ClassVar[int]
    """Over HTTP. A class without one is a base and never raised."""

    retry_after_seconds: int | None = None
    """When the same request may be taken; None where trying again later helps nothing."""

    def __init__(self, detail: str, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    @property
    def members(self) -> Mapping[str, Any]:
        """What the problem carries beside the members that all have."""
        return {}

    def within(self, place: str) -> Self:
        """The same refusal, of one item among several."""
        found = self.errors or (FieldError("", self.detail),)
        self.errors = tuple(FieldError(f"{place}.{error.path}".rstrip("."), error.message) for error in found)
        self.detail = f"{place}: {self.detail}"
        self.args = (self.detail,)
        return self


class PayloadMalformed(Refusal):
    title = "Malformed JSON"
    status = 400


class PayloadInvalid(Refusal):
    title = "The payload does not fit the task"
    status = 422


class PayloadTooLarge(Refusal):
    title = "The payload is too large"
    status = 413


class RequestInvalid(Refusal):
    """A body or a query parameter that does not fit; `errors` name the fields."""

    title = "The request is not valid"
    status = 422

    @classmethod
    def at(cls, errors: tuple[FieldError, ...]) -> "RequestInvalid":
        return cls("; ".join(f"{error.path}: {error.message}" for error in errors[:3]), errors)


class BodyTooLarge(Refusal):
    title = "The request body is too large"
    status = 413
