"""The check of each kind of trigger option: what came in, as it is stored, or why it cannot be. Reads no rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from trigger_sdk.times import TimeRefused, check_time, read_time
from trigger_sdk.trigger_options import Duration, Integer, Kind, Moment, Object, Pattern, Text, Texts
from trigger_sdk.values.strict_json import text_problem

from apps.http.errors import Refusal
from apps.http.values import encode_json

SHOWN_LENGTH = 60

Check = Callable[[Any], Any]


class Wrong(Exception):
    """What a check refuses; `place` is where below the option. It never leaves `trigger.options`."""

    def __init__(self, message: str, place: str = "") -> None:
        self.message = message
        self.place = place


def check_of(kind: Kind, *, is_json: bool) -> Check:
    """The check of that kind: of what JSON carries, or of what Python may hand over besides."""
    match kind:
        case Integer():
            return _integer(kind)
        case Text():
            return _text(kind)
        case Pattern():
            return _pattern(kind)
        case Texts():
            return _texts(kind)
        case Duration():
            return _seconds(kind) if is_json else _duration(kind)
        case Moment():
            return _moment_text if is_json else _moment
        case Object():
            return _object(kind)


def _integer(kind: Integer) -> Check:
    low, high = kind

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Wrong(f"must be a whole number from {low} to {high}, not {_shown(value)}")
        return value

    return check


def _seconds(kind: Duration) -> Check:
    low, high = kind

    def check(value: Any) -> float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:  # which NaN is not either
            raise Wrong(f"must be from {low:,.0f} to {high:,.0f} seconds, not {_shown(value)}")
        return float(value)

    return check


def _duration(kind: Duration) -> Check:
    of_number = _seconds(kind)
    return lambda value: of_number(value.total_seconds() if isinstance(value, timedelta) else value)


def _text(kind: Text) -> Check:
    least, most = kind

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


def _pattern(kind: Pattern) -> Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not kind.pattern.match(value):
            raise Wrong(f"must be {kind.form}")
        return value

    return check


def _texts(kind: Texts) -> Check:
    check_each = _text(kind.each)

    def check(value: Any) -> list[str]:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise Wrong(f"must be a list of texts, not {_shown(value)}")
        texts: dict[str, None] = {}
        for place, text in enumerate(sorted(value, key=str) if isinstance(value, (set, frozenset)) else value):
            try:
                texts[check_each(text)] = None
            except Wrong as wrong:
                raise Wrong(wrong.message, f"[{place}]") from None
            if len(texts) > kind.most:
                raise Wrong(f"may have {kind.most} different ones")
        return list(texts)

    return check


def _object(kind: Object) -> Check:
    """As the text that is stored."""

    def check(value: Any) -> str:
        if not isinstance(value, Mapping):
            raise Wrong(f"must be a JSON object, not {_shown(value)}")
        try:
            text, _ = encode_json(dict(value), root="metadata", max_bytes=kind.max_bytes)
        except Refusal as refused:
            place = refused.errors[0].path.removeprefix("metadata") if refused.errors else ""
            raise Wrong(refused.errors[0].message if refused.errors else refused.detail, place) from refused
        return text

    return check


def _moment(value: Any) -> datetime:
    if not isinstance(value, (datetime, str)):
        raise Wrong(f"must be a datetime with a time zone, not {_shown(value)}")
    try:
        return check_time(value) if isinstance(value, datetime) else read_time(value)
    except TimeRefused as refused:
        raise Wrong(str(refused)) from None


def _moment_text(value: Any) -> datetime:
    try:
        return read_time(value)
    except TimeRefused as refused:
        raise Wrong(str(refused)) from None


def _shown(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**SHOWN_LENGTH:
        return "an integer beyond it"
    if value is None or isinstance(value, (str, int, float)):
        text = repr(value)
        return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"
    return type(value).__name__
