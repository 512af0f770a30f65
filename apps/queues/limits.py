"""Which values a limit, a rate or a pause may have: the check of everything that people set by hand. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from apps.http.errors import FieldError
from apps.queues.claim.rates import parse_rate
from apps.queues.errors import LimitInvalid
from apps.queues.models import RATE_LIMIT_MAX_LENGTH
from apps.runs.models import CONCURRENCY_LIMIT, QUEUE_MAX_LENGTH

Check = Callable[[Any], str]


def _flag(value: Any) -> str:
    return "" if isinstance(value, bool) else f"must be true or false, not {value!r}"


def _count(value: Any) -> str:
    if value is None or (type(value) is int and 1 <= value <= CONCURRENCY_LIMIT):
        return ""
    return f"must be a whole number from 1 to {CONCURRENCY_LIMIT:,}, or null, not {value!r}"


def _rate(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > RATE_LIMIT_MAX_LENGTH:
        return f"must be a text such as 100/m, or null, not {value!r}"
    try:
        parse_rate(value)
    except ValueError as error:
        return str(error)
    return ""


QUEUE_FIELDS: Mapping[str, Check] = {
    "is_paused": _flag,
    "max_concurrency": _count,
    "rate_limit": _rate,
    "max_depth": _count,
}
TASK_FIELDS: Mapping[str, Check] = {
    "is_paused": _flag,
    "max_concurrency": _count,
    "max_concurrency_total": _count,
    "rate_limit": _rate,
    "rate_limit_per_key": _rate,
}


def checked(changes: Mapping[str, Any], fields: Mapping[str, Check]) -> dict[str, Any]:
    """The changes as columns hold them (no rate is an empty text); raises LimitInvalid naming each wrong field."""
    if not changes:
        raise LimitInvalid(f"Nothing was asked for: name one of {', '.join(fields)}.")
    found = [
        FieldError(name, fields[name](value) if name in fields else "unknown field") for name, value in changes.items()
    ]
    if wrong := tuple(error for error in found if error.message):
        raise LimitInvalid("; ".join(f"{error.path}: {error.message}" for error in wrong), wrong)
    return {name: "" if value is None and fields[name] is _rate else value for name, value in changes.items()}


def check_queue_name(name: str) -> None:
    """Raises LimitInvalid where no run could name the queue so."""
    if not 0 < len(name) <= QUEUE_MAX_LENGTH or "\x00" in name:
        message = f"must have 1 to {QUEUE_MAX_LENGTH} characters and no NUL"
        raise LimitInvalid(f"name: {message}", (FieldError("name", message),))
