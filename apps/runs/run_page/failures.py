"""Errors as the pages show them, and which ends of an attempt are failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apps.runs.models import Attempt
from apps.runs.states import Outcome
from apps.storage.fields import UNREADABLE

UNREADABLE_SHOWN = 500

QUIET_OUTCOMES = frozenset({Outcome.CANCELED, Outcome.SUSPENDED, Outcome.RELEASED})
"""Ends that are nobody's failure."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as it is shown; `reason` says why the run has no further attempt."""

    type: str
    message: str
    stack: str
    reason: str = ""

    @classmethod
    def of(cls, error: Any) -> Failure | None:
        """What is stored, an object or, where another version wrote it, whatever there is; None for nothing."""
        if error is None:
            return None
        if not isinstance(error, Mapping) or error == UNREADABLE:
            return cls("unreadable", str(error)[:UNREADABLE_SHOWN], "")
        return cls(*(str(error.get(name) or "") for name in ("type", "message", "stack", "reason")))


def is_failure(outcome: str) -> bool:
    return outcome not in ("", Outcome.COMPLETED, *QUIET_OUTCOMES)


def last_failed(attempts: Sequence[Attempt]) -> str:
    return next((a.outcome for a in reversed(attempts) if is_failure(a.outcome)), Outcome.FAILED)
