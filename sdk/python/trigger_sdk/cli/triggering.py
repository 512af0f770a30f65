"""The arguments of `trigger run`, made from the list of trigger options, in command-line words and units."""

import argparse
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from trigger_sdk.cli.errors import UsageError
from trigger_sdk.cli.values import read_json
from trigger_sdk.times import TimeRefused, read_time
from trigger_sdk.trigger_options import (
    TRIGGER_OPTIONS,
    Duration,
    Integer,
    Moment,
    Object,
    Pattern,
    Text,
    Texts,
    TriggerOption,
    TriggerOptions,
)

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s|m|h|d)?\Z")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task")
    parser.add_argument("--payload", default="{}", help="JSON, @FILE, or - for standard input; default {}")
    for option in TRIGGER_OPTIONS.values():
        parser.add_argument(option.flag, dest=option.name, help=_help(option), **_SHAPES[type(option.kind)])


def trigger_options(options: argparse.Namespace) -> TriggerOptions:
    """The given options; UsageError names the argument that cannot be read. The server checks limits."""
    given = {name: _read(option, getattr(options, name)) for name, option in TRIGGER_OPTIONS.items()}
    return cast("TriggerOptions", given)


_SHAPES: Mapping[type, dict[str, Any]] = {
    Integer: {"type": int, "metavar": "N"},
    Text: {"metavar": "TEXT"},
    Pattern: {"metavar": "TEXT"},
    Texts: {"action": "append", "metavar": "TEXT"},
    Duration: {"metavar": "TIME"},
    Moment: {"metavar": "WHEN"},
    Object: {"metavar": "JSON"},
}
"""How argparse reads each kind."""


def _help(option: TriggerOption) -> str:
    kind, form = option.kind, ""
    if isinstance(kind, Integer):
        form = f" From {kind.least} to {kind.most}."
    elif isinstance(kind, Texts):
        form = " May be repeated."
    elif isinstance(kind, Duration):
        form = " Such as 90s, 10m, 2h or 1d."
    elif isinstance(kind, Moment):
        form = " As 2026-12-01T08:00:00+01:00."
    elif isinstance(kind, Object):
        form = " As text or @FILE."
    return option.doc + form


def _read(option: TriggerOption, argument: Any) -> Any:
    reader = _READERS.get(type(option.kind))
    return argument if argument is None or reader is None else reader(option.flag, argument)


def _seconds(flag: str, text: str) -> float:
    match = _DURATION.match(text)
    if match is None:
        raise UsageError(f"{flag} {text}: must be a time such as 90s, 10m, 2h or 1d")
    return float(match["number"]) * _UNIT_SECONDS[match["unit"] or "s"]


def _moment(flag: str, text: str) -> datetime:
    try:
        return read_time(text)
    except TimeRefused as refused:
        raise UsageError(f"{flag} {refused}") from None


def _object(flag: str, argument: str) -> dict[str, Any]:
    value = read_json(argument, flag, is_input_allowed=False)
    if not isinstance(value, dict):
        raise UsageError(f"{flag}: must be a JSON object")
    return value


_READERS: Mapping[type, Callable[[str, str], Any]] = {Duration: _seconds, Moment: _moment, Object: _object}
"""Passes the other kinds on: argparse has already converted them."""
