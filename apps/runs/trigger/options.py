"""The options of a trigger: their names, types and limits, checked one by one. Reads no rows and knows no task.

What depends on the task (its default queue, budget and key) is in `terms.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn, TypedDict

from trigger_sdk.times import TimeRefused, check_time, read_time
from trigger_sdk.values.strict_json import text_problem

from apps.http.errors import FieldError, Refusal
from apps.http.values import encode_json
from apps.runs.errors import OptionInvalid
from apps.runs.models import (
    CONCURRENCY_KEY_MAX_LENGTH,
    IDEMPOTENCY_KEY_MAX_LENGTH,
    MAX_ATTEMPTS_LIMIT,
    PRIORITY_RANGE,
    QUEUE_MAX_LENGTH,
    TAG_MAX_LENGTH,
    TAGS_LIMIT,
)

LONGEST_SECONDS = 365 * 86_400.0
"""How far ahead a run may be triggered, how long it may wait to start, and how long a key may be kept."""

IDEMPOTENCY_KEY_TTL_SECONDS = 30 * 86_400.0
METADATA_MAX_BYTES = 65_536
SHOWN_LENGTH = 60

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""W3C Trace Context, the part that every version has."""


class TriggerOptions(TypedDict, total=False):
    """What may be asked for; None counts as not given. Durations are seconds or a timedelta, times carry a zone."""

    queue: str | None
    priority: int | None
    concurrency_key: str | None
    delay: float | timedelta | None
    run_at: datetime | None
    ttl: float | timedelta | None
    idempotency_key: str | None
    idempotency_key_ttl: float | timedelta | None
    tags: Collection[str] | None
    max_attempts: int | None
    metadata: Mapping[str, Any] | None
    traceparent: str | None


@dataclass(slots=True)
class Given:
    """Checked options under their stored names; None: not given."""

    queue: str | None = None
    priority: int | None = None
    concurrency_key: str | None = None
    delay_seconds: float | None = None
    run_at: datetime | None = None
    ttl_seconds: float | None = None
    idempotency_key: str | None = None
    idempotency_key_ttl_seconds: float | None = None
    tags: list[str] | None = None
    max_attempts: int | None = None
    metadata: str | None = None
    traceparent: str | None = None


class Wrong(Exception):
    """What a check refuses; `place` is where below the option. It never leaves this module."""

    def __init__(self, message: str, place: str = "") -> None:
        self.message = message
        self.place = place


Check = Callable[[Any], Any]
Door = Mapping[str, tuple[str, Check]]
"""The options' names at one entrance, each with its stored name and its check."""


def read_options(options: Mapping[str, Any], door: Door) -> Given:
    """Raises OptionInvalid naming every option that is wrong."""
    given = Given()
    found: list[FieldError] = []
    for name, value in options.items():
        known = door.get(name)
        if known is None:
            found.append(FieldError(f"options.{str(name)[:SHOWN_LENGTH]}", _unknown(str(name), door)))
        elif value is not None:
            try:
                setattr(given, known[0], known[1](value))
            except Wrong as wrong:
                found.append(FieldError(f"options.{name}{wrong.place}", wrong.message))
    if given.delay_seconds is not None and given.run_at is not None:
        found.append(FieldError("options.run_at", f"may not stand beside {_name_of('delay_seconds', door)}"))
    if given.idempotency_key_ttl_seconds is not None and given.idempotency_key is None:
        place = f"options.{_name_of('idempotency_key_ttl_seconds', door)}"
        found.append(FieldError(place, "only has a meaning together with idempotency_key"))
    if found:
        refuse_options(*found)
    return given


def refuse_options(*found: FieldError) -> NoReturn:
    raise OptionInvalid("; ".join(f"{error.path} {error.message}" for error in found[:3]), found)


def _name_of(stored: str, door: Door) -> str:
    return next(name for name, (target, _) in door.items() if target == stored)


def _unknown(name: str, door: Door) -> str:
    stem = name.removesuffix("_seconds")
    in_unit = [other for other in (stem, f"{stem}_seconds") if other in door]
    near = in_unit or difflib.get_close_matches(name, door, n=1)
    return f"is an unknown option{f'; did you mean {near[0]!r}?' if near else ''}"


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(f"must be a whole number from {low} to {high}, not {_shown(value)}")
        return value

    return check


def _seconds(low: float, high: float) -> Check:
    def check(value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # which NaN is not either
            raise Wrong(f"must be from {low:,.0f} to {high:,.0f} seconds, not {_shown(value)}")
        return float(value)

    return check


def _duration(low: float, high: float) -> Check:
    of_number = _seconds(low, high)
    return lambda value: of_number(value.total_seconds() if isinstance(value, timedelta) else value)


def _text(least: int, most: int) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise Wrong(f"must be a text, not {_shown(value)}")
        if not least <= len(value) <= most:
            range_text = f"{least} to {most}" if least else f"at most {most}"
            raise Wrong(f"must have {range_text} characters, not {len(value):,}")
        if problem := text_problem(value):
            raise Wrong(problem)
        return value

    return check


_TAG = _text(1, TAG_MAX_LENGTH)


def _tags(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise Wrong(f"must be a list of texts, not {_shown(value)}")
    tags: dict[str, None] = {}
    for place, tag in enumerate(sorted(value, key=str) if isinstance(value, (set, frozenset)) else value):
        try:
            tags[_TAG(tag)] = None
        except Wrong as wrong:
            raise Wrong(wrong.message, f"[{place}]") from None
        if len(tags) > TAGS_LIMIT:
            raise Wrong(f"may have {TAGS_LIMIT} different ones")
    return list(tags)


def _metadata(value: Any) -> str:
    if not isinstance(value, Mapping):
        raise Wrong(f"must be a JSON object, not {_shown(value)}")
    try:
        text, _ = encode_json(dict(value), root="metadata", max_bytes=METADATA_MAX_BYTES)
    except Refusal as refused:
        place = refused.errors[0].path.removeprefix("metadata") if refused.errors else ""
        raise Wrong(refused.errors[0].message if refused.errors else refused.detail, place) from refused
    return text


def _moment(value: Any) -> datetime:
    if not isinstance(value, datetime):
        raise Wrong(f"must be a datetime with a time zone, not {_shown(value)}")
    try:
        return check_time(value)
    except TimeRefused as refused:
        raise Wrong(str(refused)) from None


def _moment_text(value: Any) -> datetime:
    try:
        return read_time(value)
    except TimeRefused as refused:
        raise Wrong(str(refused)) from None


def _traceparent(value: Any) -> str:
    if not isinstance(value, str) or not TRACEPARENT.match(value):
        raise Wrong("must be a W3C traceparent, as 00-<32 hex digits>-<16 hex digits>-01, not all zeros")
    return value


def traceparent_of(header: str | None) -> str | None:
    """The header's value, None where it is none: a caller's broken tracing must not refuse its trigger."""
    return header if header is not None and TRACEPARENT.match(header) else None


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**SHOWN_LENGTH:
        return "an integer beyond it"
    if value is None or isinstance(value, (str, int, float)):
        text = repr(value)
        return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
    return type(value).__name__


_SAME: Door = {
    "queue": ("queue", _text(1, QUEUE_MAX_LENGTH)),
    "priority": ("priority", _integer(*PRIORITY_RANGE)),
    "concurrency_key": ("concurrency_key", _text(0, CONCURRENCY_KEY_MAX_LENGTH)),
    "idempotency_key": ("idempotency_key", _text(1, IDEMPOTENCY_KEY_MAX_LENGTH)),
    "tags": ("tags", _tags),
    "max_attempts": ("max_attempts", _integer(1, MAX_ATTEMPTS_LIMIT)),
    "metadata": ("metadata", _metadata),
    "traceparent": ("traceparent", _traceparent),
}
PYTHON: Door = {
    **_SAME,
    "delay": ("delay_seconds", _duration(0, LONGEST_SECONDS)),
    "run_at": ("run_at", _moment),
    "ttl": ("ttl_seconds", _duration(1, LONGEST_SECONDS)),
    "idempotency_key_ttl": ("idempotency_key_ttl_seconds", _duration(1, LONGEST_SECONDS)),
}
HTTP: Door = {
    **_SAME,
    "delay_seconds": ("delay_seconds", _seconds(0, LONGEST_SECONDS)),
    "run_at": ("run_at", _moment_text),
    "ttl_seconds": ("ttl_seconds", _seconds(1, LONGEST_SECONDS)),
    "idempotency_key_ttl_seconds": ("idempotency_key_ttl_seconds", _seconds(1, LONGEST_SECONDS)),
}
