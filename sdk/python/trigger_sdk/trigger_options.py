"""The options of a trigger, in one list: what a run may be asked for beside its payload, in which type and limits.

The client, the command line and the server derive from it what they take. It checks nothing itself: limits are the
server's to enforce. A new option is one line in `TriggerOptions` and one in `TRIGGER_OPTIONS`.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from trigger_sdk.options import MAX_ATTEMPTS

LONGEST_SECONDS = 365 * 86_400.0
"""How far ahead a run may be triggered, how long it may wait to start, and how long a key may be kept."""

IDEMPOTENCY_KEY_TTL_SECONDS = 30 * 86_400.0
"""How long a key is kept where nothing is said."""

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
"""W3C Trace Context, the part that every version has."""


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
    """A text of so many characters."""

    least: int
    most: int


class Pattern(NamedTuple):
    """A text of one form, which `form` describes."""

    pattern: re.Pattern[str]
    form: str


class Texts(NamedTuple):
    """A collection of different texts, at most so many."""

    most: int
    each: Text


class Duration(NamedTuple):
    """A length of time in seconds; its name ends in `_seconds` wherever it is a plain number."""

    least: float
    most: float = LONGEST_SECONDS


class Moment(NamedTuple):
    """A time with a zone, as `times` reads it."""


class Object(NamedTuple):
    """A JSON object of so many bytes."""

    max_bytes: int


Kind = Integer | Text | Pattern | Texts | Duration | Moment | Object


class TriggerOption(NamedTuple):
    """One option. `doc` is a sentence for the API's description and the command line's help."""

    name: str
    kind: Kind
    doc: str

    @property
    def wire_name(self) -> str:
        """Its name in a request, and where it is stored."""
        return f"{self.name}_seconds" if isinstance(self.kind, Duration) else self.name

    @property
    def flag(self) -> str:
        """On the command line, where a list is given one by one."""
        single = self.name.removesuffix("s") if isinstance(self.kind, Texts) else self.name
        return f"--{single.replace('_', '-')}"


TRIGGER_OPTIONS: Mapping[str, TriggerOption] = {
    option.name: option
    for option in (
        TriggerOption("queue", Text(1, 128), "Default: the task's own queue."),
        TriggerOption("priority", Integer(-100, 100), "Higher goes first; default 0."),
        TriggerOption("concurrency_key", Text(0, 256), "Default: as the task takes it from the payload."),
        TriggerOption("delay", Duration(0), "From now until it is due."),
        TriggerOption("run_at", Moment(), "When it is due, instead of a delay; in the past: at once."),
        TriggerOption("ttl", Duration(1), "It expires if it has not started so long after it is due."),
        TriggerOption("idempotency_key", Text(1, 256), "Repeats with it get the same run."),
        TriggerOption("idempotency_key_ttl", Duration(1), "How long the key is kept; default 30 days."),
        TriggerOption("tags", Texts(10, Text(1, 64)), "At most 10 different ones."),
        TriggerOption("max_attempts", Integer(1, MAX_ATTEMPTS), "Default: the task's own number."),
        TriggerOption("metadata", Object(65_536), "Shown on the run; at most 64 KB of JSON."),
        TriggerOption(
            "traceparent",
            Pattern(TRACEPARENT, "a W3C traceparent, as 00-<32 hex digits>-<16 hex digits>-01, not all zeros"),
            "W3C trace context; over HTTP the header of that name will do.",
        ),
    )
}
"""By their names in Python, in the order in which they are shown."""
