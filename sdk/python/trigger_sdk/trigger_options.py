"""The options of a trigger, in one list: what may be set for a run besides its payload, with types and limits.

The client, the command line and the server derive what they accept from it. It checks nothing itself: the server
enforces the limits. To add an option, add one line to `TriggerOptions` and one to `TRIGGER_OPTIONS`.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from trigger_sdk.options import MAX_ATTEMPTS

LONGEST_SECONDS = 365 * 86_400.0
"""How far ahead a run may be triggered, how long it may wait to start, and how long a key may be kept."""

IDEMPOTENCY_KEY_TTL_SECONDS = 30 * 86_400.0
"""How long a key is kept by default."""

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""W3C Trace Context: the part that every version has."""


class TriggerOptions(TypedDict, total=False):
    """None counts as not given. Durations are seconds or a timedelta; `run_at` has a zone, or is RFC 3339 text."""

    queue: str | None
    priority: int | None
    concurrency_key: str | None
    delay: float | timedelta | None
    run_at: datetime | str | None
    ttl: float | timedelta | None
    idempotency_key: str | None
    idempotency_key_ttl: float | timedelta | None
    tags: Collection[str] | None
    max_attempts: int | None
    metadata: Mapping[str, Any] | None
    traceparent: str | None


class Integer(NamedTuple):
    """A whole number; both ends are allowed, as in all kinds."""

    least: int
    most: int


class Text(NamedTuple):
    """A text with a length in characters within these limits."""

    least: int
    most: int


class Pattern(NamedTuple):
    """A text that matches a pattern; `form` describes it."""

    pattern: re.Pattern[str]
    form: str


class Texts(NamedTuple):
    """A collection of at most `most` different texts."""

    most: int
    each: Text


class Duration(NamedTuple):
    """A length of time in seconds; its name ends in `_seconds` wherever it is a plain number."""

    least: float
    most: float = LONGEST_SECONDS


class Moment(NamedTuple):
    """A time with a zone, as `times` reads it."""


class Object(NamedTuple):
    """A JSON object of at most `max_bytes`."""

    max_bytes: int


Kind = Integer | Text | Pattern | Texts | Duration | Moment | Object


class TriggerOption(NamedTuple):
    """One option. `doc` is a sentence for the API's description and the command line's help."""

    name: str
    kind: Kind
    doc: str

    @property
    def wire_name(self) -> str:
        """Its name in a request and in storage."""
        return f"{self.name}_seconds" if isinstance(self.kind, Duration) else self.name

    @property
    def flag(self) -> str:
        """Its flag on the command line, where the items of a list are given one by one."""
        single = self.name.removesuffix("s") if isinstance(self.kind, Texts) else self.name
        return f"--{single.replace('_', '-')}"


TRIGGER_OPTIONS: Mapping[str, TriggerOption] = {
    option.name: option
    for option in (
        TriggerOption("queue", Text(1, 128), "Default: the task's own queue."),
        TriggerOption("priority", Integer(-100, 100), "Higher runs first; default 0."),
        TriggerOption("concurrency_key", Text(0, 256), "Default: what the task takes from the payload."),
        TriggerOption("delay", Duration(0), "Time from now until it is due."),
        TriggerOption("run_at", Moment(), "When it is due, instead of a delay; a past time means at once."),
        TriggerOption("ttl", Duration(1), "It expires if it has not started this long after it is due."),
        TriggerOption("idempotency_key", Text(1, 256), "Repeated triggers with the same key get the same run."),
        TriggerOption("idempotency_key_ttl", Duration(1), "How long the key is kept; default 30 days."),
        TriggerOption("tags", Texts(10, Text(1, 64)), "At most 10 different tags."),
        TriggerOption("max_attempts", Integer(1, MAX_ATTEMPTS), "Default: the task's own number."),
        TriggerOption("metadata", Object(65_536), "Shown on the run; at most 64 KB of JSON."),
        TriggerOption(
            "traceparent",
            Pattern(TRACEPARENT, "a W3C traceparent, such as 00-<32 hex digits>-<16 hex digits>-01, not all zeros"),
            "W3C trace context; over HTTP the header of that name works too.",
        ),
    )
}
"""By Python name, in display order."""
