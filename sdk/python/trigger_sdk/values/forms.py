"""The `{"$type": …}` forms of single values: times, durations, decimals, UUIDs, bytes, paths and odd floats, both ways.

`codec.py` owns containers, limits and plain JSON. The modules of the types are loaded when a value needs them.
"""

import base64
import re
from typing import Any

from trigger_sdk.errors import CodecError, NotFinite, TextRefused, UnsupportedType
from trigger_sdk.values.strict_json import path_of, text_problem

_DURATION = (
    r"(?P<sign>-?)P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,6}))?S)?)?\Z"
)


class ValueRefused(Exception):
    """Travels up from the place of a problem; each container adds its key, so good values cost no path."""

    def __init__(self, error: type[CodecError], message: str) -> None:
        self.error = error
        self.message = message
        self.segments: list[str | int] = []

    def at(self, prefix: list[str | int]) -> CodecError:
        return self.error(path_of([*prefix, *reversed(self.segments)]), self.message)


def format_duration(value: Any) -> str:
    """ISO 8601, in seconds only: `PT93784.5S`."""
    micros = value.days * 86_400_000_000 + value.seconds * 1_000_000 + value.microseconds
    seconds, fraction = divmod(abs(micros), 1_000_000)
    tail = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{'-' if micros < 0 else ''}PT{seconds}{tail}S"


def parse_duration(text: str) -> Any:
    """A timedelta from ISO 8601 weeks, days, hours, minutes and seconds; ValueError for anything else."""
    from datetime import timedelta

    match = re.match(_DURATION, text, re.ASCII)
    if match is None or text.rstrip("-").endswith(("P", "T")):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT90S")
    units = ("weeks", "days", "hours", "minutes", "seconds")
    parts = {unit: int(match[unit] or 0) for unit in units}
    try:
        value = timedelta(**parts, microseconds=int((match["fraction"] or "").ljust(6, "0")))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than a timedelta can hold") from None
    return -value if match["sign"] else value


def _write_datetime(value: Any) -> dict[str, Any]:
    form: dict[str, Any] = {"value": value.isoformat()}
    if value.tzinfo is not None:
        form |= _write_zone(value.tzinfo)
    if value.fold:
        form["fold"] = 1
    return form


def _write_zone(zone: Any) -> dict[str, Any]:
    """What the offset in the text does not say about a zone."""
    kind = f"{type(zone).__module__}.{type(zone).__qualname__}"
    if kind == "datetime.timezone":
        offset, name = zone.utcoffset(None), zone.tzname(None)
        form = {} if name == type(zone)(offset).tzname(None) else {"name": _checked(name)}
        # `fromisoformat` treats an offset below a second as UTC.
        return {**form, "offset": format_duration(offset)} if offset.microseconds else form
    if kind == "zoneinfo.ZoneInfo" and zone.key is not None:
        return {"zone": _checked(zone.key)}
    # Its offset could be stored, but not the rule by which the offset changes.
    message = f"a time in a zone of type {kind} cannot be stored; use zoneinfo.ZoneInfo(…)"
    raise ValueRefused(UnsupportedType, message)


def _checked(name: str) -> str:
    if problem := text_problem(name):
        raise ValueRefused(TextRefused, f"the name of its zone: {problem}")
    return name


def _write_decimal(value: Any) -> dict[str, Any]:
    if not value.is_finite():
        raise ValueRefused(NotFinite, f"Decimal {value} cannot be stored")
    # The case of the exponent follows a setting of the thread.
    return {"value": str(value).upper()}


def _write_path(value: Any) -> dict[str, Any]:
    text = str(value)
    if problem := text_problem(text):
        raise ValueRefused(TextRefused, f"the path {text!r}: {problem}")
    return {"value": text}


def write_odd_float(value: float) -> dict[str, Any]:
    """The form of a float that JSON lacks: `nan`, `inf` or `-inf`."""
    return {"$type": "float", "value": str(value)}


WRITERS: dict[str, Any] = {
    "datetime.datetime": _write_datetime,
    "datetime.time": _write_datetime,
    "datetime.date": lambda value: {"value": value.isoformat()},
    "datetime.timedelta": lambda value: {"value": format_duration(value)},
    "decimal.Decimal": _write_decimal,
    "uuid.UUID": lambda value: {"value": str(value)},
    "builtins.bytes": lambda value: {"value": base64.b64encode(value).decode()},
}
"""By the full name of a type, so that none is imported before a value needs it; their forms are named after them."""

PATHS = {"PosixPath": "path", "WindowsPath": "path", "PurePosixPath": "posix_path", "PureWindowsPath": "windows_path"}
"""The forms of the classes of pathlib, whose module has another name in each version of Python."""


def writer_of(kind: type) -> tuple[str, Any] | None:
    """The name of a type's form and what writes it; None if it has no form."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in WRITERS:
        return name.rpartition(".")[2].lower(), WRITERS[name]
    if kind.__module__.partition(".")[0] == "pathlib" and kind.__qualname__ in PATHS:
        return PATHS[kind.__qualname__], _write_path
    return None


def _read_datetime(kind: str) -> Any:
    def read(inner: Any, form: dict[str, Any]) -> Any:
        import datetime

        value = getattr(datetime, kind).fromisoformat(inner)
        fold = form.get("fold", 0)
        if "zone" in form:
            from zoneinfo import ZoneInfo

            value = value.replace(tzinfo=ZoneInfo(form["zone"]))
        elif "name" in form or "offset" in form:
            offset = parse_duration(form["offset"]) if "offset" in form else value.utcoffset()
            name = (form["name"],) if "name" in form else ()
            value = value.replace(tzinfo=datetime.timezone(offset, *name))
        return value.replace(fold=fold) if fold else value

    return read


def _read_date(inner: Any, form: dict[str, Any]) -> Any:
    from datetime import date

    return date.fromisoformat(inner)


def _read_decimal(inner: Any, form: dict[str, Any]) -> Any:
    from decimal import Decimal

    if not isinstance(inner, str):
        raise TypeError("it must be a text")
    value = Decimal(inner)
    if not value.is_finite():
        raise ValueError("it is not finite")
    return value


def _read_uuid(inner: Any, form: dict[str, Any]) -> Any:
    from uuid import UUID

    return UUID(inner)


def _read_path(kind: str) -> Any:
    def read(inner: Any, form: dict[str, Any]) -> Any:
        import pathlib

        if not isinstance(inner, str):
            raise TypeError("it must be a text")
        return getattr(pathlib, kind)(inner)

    return read


def _read_odd_float(inner: Any, form: dict[str, Any]) -> Any:
    if inner not in ("nan", "inf", "-inf"):
        raise ValueError("it must be nan, inf or -inf")
    return float(inner)


READERS: dict[str, Any] = {
    "datetime": _read_datetime("datetime"),
    "time": _read_datetime("time"),
    "date": _read_date,
    "timedelta": lambda inner, form: parse_duration(inner),
    "decimal": _read_decimal,
    "uuid": _read_uuid,
    "bytes": lambda inner, form: base64.b64decode(inner, validate=True),
    "path": _read_path("Path"),
    "posix_path": _read_path("PurePosixPath"),
    "windows_path": _read_path("PureWindowsPath"),
    "float": _read_odd_float,
}
"""Turn `value` and the whole form into the value; they raise what the types themselves raise."""
