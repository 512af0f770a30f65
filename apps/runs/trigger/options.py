"""The options of a trigger as each door takes them, made from the one list of them (`trigger_sdk.trigger_options`).

Reads no rows and knows no task: what depends on it (its default queue, budget and key) is in `tasks/terms.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NoReturn

from trigger_sdk.trigger_options import TRACEPARENT, TRIGGER_OPTIONS

from apps.http.errors import FieldError
from apps.runs.errors import OptionInvalid
from apps.runs.trigger.checks import Check, Wrong, check_of

NAME_SHOWN_LENGTH = 60

Given = Mapping[str, Any]
"""Checked options by the names under which they are stored (`wire_name`); one that is missing was not given."""

Door = Mapping[str, tuple[str, Check]]
"""The options' names at one entrance, each with its stored name and its check."""

PYTHON: Door = {
    name: (option.wire_name, check_of(option.kind, is_json=False)) for name, option in TRIGGER_OPTIONS.items()
}
HTTP: Door = {
    option.wire_name: (option.wire_name, check_of(option.kind, is_json=True)) for option in TRIGGER_OPTIONS.values()
}


def read_options(options: Mapping[str, Any], door: Door) -> Given:
    """Raises OptionInvalid naming every option that is wrong."""
    given: dict[str, Any] = {}
    found: list[FieldError] = []
    for name, value in options.items():
        known = door.get(name)
        if known is None:
            found.append(FieldError(f"options.{str(name)[:NAME_SHOWN_LENGTH]}", _unknown(str(name), door)))
        elif value is not None:
            try:
                given[known[0]] = known[1](value)
            except Wrong as wrong:
                found.append(FieldError(f"options.{name}{wrong.place}", wrong.message))
    if "delay_seconds" in given and "run_at" in given:
        found.append(FieldError("options.run_at", f"may not stand beside {_name_of('delay_seconds', door)}"))
    if "idempotency_key_ttl_seconds" in given and "idempotency_key" not in given:
        place = f"options.{_name_of('idempotency_key_ttl_seconds', door)}"
        found.append(FieldError(place, "only has a meaning together with idempotency_key"))
    if found:
        refuse_options(*found)
    return given


def refuse_options(*found: FieldError) -> NoReturn:
    raise OptionInvalid("; ".join(f"{error.path} {error.message}" for error in found[:3]), found)


def traceparent_of(header: str | None) -> str | None:
    """The header's value, None where it is none: a caller's broken tracing must not refuse its trigger."""
    return header if header is not None and TRACEPARENT.match(header) else None


def _name_of(stored: str, door: Door) -> str:
    return next(name for name, (target, _) in door.items() if target == stored)


def _unknown(name: str, door: Door) -> str:
    stem = name.removesuffix("_seconds")
    in_unit = [other for other in (stem, f"{stem}_seconds") if other in door]
    near = in_unit or difflib.get_close_matches(name, door, n=1)
    return f"is an unknown option{f'; did you mean {near[0]!r}?' if near else ''}"
