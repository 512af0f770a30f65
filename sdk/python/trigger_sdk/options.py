"""The options of a task: their names, defaults and limits. The server and the worker decide what they do."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any, NamedTuple

from trigger_sdk.errors import TaskOptionError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>B|KB|MB|GB|TB)\Z", re.IGNORECASE)
RATE = re.compile(r"[1-9]\d{0,8}/(s|m|h|d)\Z")
_KEY_PATH = re.compile(r"payload(\.[^\W\d]\w*)+\Z")
_UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
_DAY = 86_400
WARM_STARTS = ("fork", "same_process", "off")
MAX_ATTEMPTS = 250
MAX_CONCURRENCY = 1_000_000
SHOWN_LENGTH = 200
"""How much of a wrong value a message shows, in characters."""


def backoff_seconds(failure_count: int, jitter: float, *, initial: float, factor: float, longest: float) -> float:
    """d = min(longest, initial * factor**(n-1)) after the n-th failure, uniformly in [d/2, d] by `jitter` in [0, 1)."""
    # The exponent is capped because a large factor overflows a float long before 250 attempts.
    full = min(longest, initial * factor ** min(failure_count - 1, 64))
    return full * (0.5 + jitter / 2)


@dataclass(frozen=True)
class Retry:
    """When a failed attempt is tried again: after min(max, initial * factor**(n-1)) seconds, with jitter."""

    max_attempts: int = 3
    initial: float = 5
    factor: float = 4
    max: float = 3600

    def __post_init__(self) -> None:
        check_integer("retry.max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        check_number("retry.initial", self.initial, 0, 30 * _DAY)
        check_number("retry.factor", self.factor, 1, 1_000)
        check_number("retry.max", self.max, 0, 30 * _DAY)

    def delay_seconds(self, failure_count: int, jitter: float) -> float:
        """The wait after the n-th failure; `jitter` is a number from [0, 1)."""
        return backoff_seconds(failure_count, jitter, initial=self.initial, factor=self.factor, longest=self.max)


class TaskOptions(NamedTuple):
    """Checked options; sizes are in bytes and durations in seconds. `to_json` is what a deployment stores."""

    queue: str
    retry: Retry
    max_concurrency: int | None = None
    max_concurrency_total: int | None = None
    concurrency_key: str | None = None
    max_duration_seconds: float = 3600
    memory_bytes: int = 512 * 2**20
    retry_out_of_memory_bytes: int | None = None
    disk_bytes: int = 2 * 2**30
    cpus: float | None = None
    warm_start: str = "fork"
    rate_limit: str | None = None
    rate_limit_per_key: str | None = None
    ttl_seconds: float | None = None
    schedule: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self._asdict(), "retry": asdict(self.retry)}

    @classmethod
    def from_json(cls, task_id: str, stored: Mapping[str, Any]) -> "TaskOptions":
        """Reads what `to_json` or another SDK wrote, by the same rules; a missing field gets its default.

        TaskOptionError gives the stored name of the first wrong field.
        """
        given: dict[str, Any] = {"queue": task_id, "retry": {}, **cls._field_defaults, **stored}
        if unknown := sorted(set(given) - set(cls._fields)):
            raise TaskOptionError(f"{unknown[0]:.100}", f"is unknown; the options are {', '.join(cls._fields)}")
        for name in _STORED.values():
            # Texts with units are only for people; what is stored is a number.
            if isinstance(given[name], str):
                raise TaskOptionError(name, f"must be a number, not {_shown(given[name])}")
        given |= {"retry": _stored_retry(given["retry"])}
        try:
            return check_options(task_id, {name: given[_STORED.get(name, name)] for name in _GIVEN})
        except TaskOptionError as error:
            raise TaskOptionError(_STORED.get(error.option, error.option), error.message) from None


_STORED = {
    "max_duration": "max_duration_seconds",
    "memory": "memory_bytes",
    "retry_out_of_memory": "retry_out_of_memory_bytes",
    "disk": "disk_bytes",
    "ttl": "ttl_seconds",
}
"""Options whose stored name differs from the given one: it includes the unit."""
_GIVEN = tuple({stored: name for name, stored in _STORED.items()}.get(field, field) for field in TaskOptions._fields)


def _stored_retry(stored: Any) -> Retry:
    names = [field.name for field in fields(Retry)]
    if not isinstance(stored, Mapping):
        raise TaskOptionError("retry", f"must be an object with {', '.join(names)}, not {_shown(stored)}")
    if unknown := sorted(set(stored) - set(names)):
        raise TaskOptionError(f"retry.{unknown[0]:.100}", f"is unknown; the fields are {', '.join(names)}")
    return Retry(**stored)


def check_options(task_id: str, given: Mapping[str, Any]) -> TaskOptions:
    """The checked options of one task; TaskOptionError names the first wrong one and its limit."""
    queue = given["queue"] if given["queue"] is not None else task_id
    retry = given["retry"]
    if not isinstance(retry, Retry):
        raise TaskOptionError("retry", f"must be a Retry(…), not {_shown(retry)}")
    memory = _size("memory", given["memory"], 16 * 2**20)
    larger = given["retry_out_of_memory"]
    larger = None if larger is None else _size("retry_out_of_memory", larger, memory)
    cpus = given["cpus"]
    options = TaskOptions(
        queue=_name("queue", queue),
        max_concurrency=_limit("max_concurrency", given["max_concurrency"]),
        max_concurrency_total=_limit("max_concurrency_total", given["max_concurrency_total"]),
        concurrency_key=_text("concurrency_key", given["concurrency_key"], _KEY_PATH, "payload.customer_id"),
        retry=retry,
        max_duration_seconds=_seconds("max_duration", given["max_duration"], 7 * _DAY),
        memory_bytes=memory,
        retry_out_of_memory_bytes=larger,
        disk_bytes=_size("disk", given["disk"], 2**20),
        cpus=None if cpus is None else check_number("cpus", cpus, 0.01, 1_024),
        warm_start=_choice("warm_start", given["warm_start"], WARM_STARTS),
        rate_limit=_text("rate_limit", given["rate_limit"], RATE, "100/m"),
        rate_limit_per_key=_text("rate_limit_per_key", given["rate_limit_per_key"], RATE, "5/s"),
        ttl_seconds=None if given["ttl"] is None else _seconds("ttl", given["ttl"], 365 * _DAY),
        schedule=_schedule(given["schedule"]),
    )
    for name in ("max_concurrency_total", "rate_limit_per_key"):
        if getattr(options, name) is not None and options.concurrency_key is None:
            raise TaskOptionError(name, "only makes sense together with concurrency_key")
    return options


def check_task_id(value: Any) -> str:
    """A task's id; it appears in addresses and names a queue."""
    return _name("id", value)


def check_integer(option: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise TaskOptionError(option, f"must be an integer from {least:,} to {most:,}, not {_shown(value)}")
    return value


def check_number(option: str, value: Any, least: float, most: float) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # this refuses NaN too
        raise TaskOptionError(option, f"must be a number from {least:,} to {most:,}, not {_shown(value)}")
    return float(value)


def _shown(value: Any) -> str:
    """The value in a message; a long one is cut."""
    text = repr(value)
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


def _name(option: str, value: Any) -> str:
    if not isinstance(value, str) or not NAME.match(value):
        needed = "must be 1 to 128 letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        raise TaskOptionError(option, f"{needed}, not {_shown(value)}")
    return value


def _limit(option: str, value: Any) -> int | None:
    return None if value is None else check_integer(option, value, 1, MAX_CONCURRENCY)


def _text(option: str, value: Any, pattern: re.Pattern[str], example: str) -> str | None:
    if value is not None and not (isinstance(value, str) and pattern.match(value)):
        raise TaskOptionError(option, f"must be a text such as {example!r}, not {_shown(value)}")
    return value


def _seconds(option: str, value: Any, most: int) -> float:
    return check_number(option, value.total_seconds() if isinstance(value, timedelta) else value, 1, most)


def _size(option: str, value: Any, least: int) -> int:
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is not None:
        value = int(float(match["number"]) * _UNITS[match["unit"].upper()])
    if isinstance(value, bool) or not isinstance(value, int):
        raise TaskOptionError(option, f'must be a size such as "512MB" or a number of bytes, not {_shown(value)}')
    if not least <= value <= _UNITS["TB"]:
        raise TaskOptionError(option, f"must be a size from {least / 2**20:g}MB to 1TB, not {value:,} bytes")
    return value


def _choice(option: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise TaskOptionError(option, f"must be one of {', '.join(map(repr, choices))}, not {_shown(value)}")
    return str(value)


def _schedule(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not isinstance(value.get("cron"), str):
        raise TaskOptionError("schedule", f"must be a mapping with a text under 'cron', not {_shown(value)}")
    return dict(value)
