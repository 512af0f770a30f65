"""Texts that stand in JSON for what it lacks: dates, times, durations, decimal numbers, UUIDs, bytes and paths.

The reader in the task and the check of payloads in the server use these same functions, so that both accept the same.
"""

import base64
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from trigger_sdk.values.forms import format_duration, parse_duration

DECIMAL = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"


class TextKind(NamedTuple):
    """`word` continues "must be …"; `read` raises ValueError or ArithmeticError for other texts."""

    word: str
    read: Callable[[str], Any]

    def problem(self, text: str) -> str | None:
        """Why the text is not one of this kind, such as `must be a UUID, not 'x'`; None if it is."""
        try:
            self.read(text)
        except (ValueError, ArithmeticError) as error:
            return f"must be {self.word}, not {text!r:.60}{reason_of(error, text)}"
        return None


def reason_of(error: Exception, text: str) -> str:
    """What an error adds to the text that it is about; empty if it only repeats it."""
    said = str(error)
    return "" if not said or repr(text)[1:-1] in said or "isoformat" in said else f": {said}"


def _read_datetime(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def _read_date(text: str) -> Any:
    from datetime import date

    return date.fromisoformat(text)


def _read_time(text: str) -> Any:
    from datetime import time

    return time.fromisoformat(text)


def _read_decimal(text: str) -> Any:
    from decimal import Decimal

    if not re.match(DECIMAL, text) or text.endswith("\n"):
        raise ValueError("")
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError("it is beyond the range of Decimal")
    return value


def _read_uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def _read_bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _read_path(text: str) -> Any:
    from pathlib import Path

    return Path(text)


TEXT_KINDS: dict[str, TextKind] = {
    "datetime": TextKind("a date and time (ISO 8601)", _read_datetime),
    "date": TextKind("a date (ISO 8601)", _read_date),
    "time": TextKind("a time (ISO 8601)", _read_time),
    "timedelta": TextKind("a duration (ISO 8601)", parse_duration),
    "uuid": TextKind("a UUID", _read_uuid),
    "bytes": TextKind("bytes as base64 text", _read_bytes),
    "decimal": TextKind('a decimal number as text, such as "10.10"', _read_decimal),
    "path": TextKind("a path", _read_path),
}


def json_form(value: Any) -> Any:
    """What stands in JSON for a value of a Literal or an enumeration; ValueError if nothing can."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        if value - value != 0:
            raise ValueError(f"{value} is not JSON")
        return value
    if kind in (list, tuple):
        return [json_form(item) for item in value]
    if kind is dict and all(type(key) is str for key in value):
        return {key: json_form(item) for key, item in value.items()}
    if kind is bytes:
        return base64.b64encode(value).decode()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if kind.__qualname__ == "timedelta":
        return format_duration(value)
    if kind.__qualname__ in ("Decimal", "UUID") or hasattr(value, "__fspath__"):
        return str(value)
    raise ValueError(f"JSON has nothing for {value!r:.60}")


def json_equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema says: 1 equals 1.0, and true equals no number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(json_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def either(messages: list[str]) -> str:
    """One sentence for a value that fits none of several options: `must be an integer or null, not 'x'`."""
    parts = [message.partition(", not ") for message in messages]
    tails = sorted({tail for _, _, tail in parts}, key=len)
    is_one_value = len(tails) == 1 or (len(tails) == 2 and tails[1].startswith(f"{tails[0]}: "))
    if not is_one_value or not all(head.startswith("must be ") for head, _, _ in parts):
        return "; or ".join(dict.fromkeys(messages))
    words = list(dict.fromkeys(head.removeprefix("must be ") for head, _, _ in parts))
    return f"must be {' or '.join(words)}, not {tails[-1]}"
