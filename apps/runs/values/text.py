"""Stored values as text for a person to edit: indented, with the order of keys and every digit kept. Pure.

Takes what `tree.parse` returns. `static/js/json_editor.js` formats what a person typed in the same way.
"""

import json
from typing import Any

from apps.runs.values.tree import Number, Pairs, parse

INDENT = "  "


def pretty(value: Any, depth: int = 0) -> str:
    """The value over several lines; empty lists and objects stay on one."""
    if isinstance(value, Pairs):
        return _lines("{", [f"{_quoted(key)}: {pretty(item, depth + 1)}" for key, item in value], "}", depth)
    if isinstance(value, list):
        return _lines("[", [pretty(item, depth + 1) for item in value], "]", depth)
    if isinstance(value, Number):
        return str(value)
    return _quoted(value)


def pretty_entries(data: str, carried: str | None) -> str:
    """The stored data of a checkpoint, followed by the values that it carries under other names."""
    value = parse(data)
    more = None if carried is None else parse(carried)
    if isinstance(value, Pairs) and isinstance(more, Pairs):
        entries = _entries(value)
        names = {name for name, _ in entries}
        entries.extend((name, item) for name, item in _entries(more) if name not in names)
    return pretty(value)


def _entries(value: Pairs) -> Pairs:
    """Where an entry is called `$type`, the codec has wrapped them all."""
    form = dict(value)
    inner = form.get("value")
    return inner if form.get("$type") == "dict" and isinstance(inner, Pairs) else value


def _lines(first: str, items: list[str], last: str, depth: int) -> str:
    if not items:
        return first + last
    inner = f",\n{INDENT * (depth + 1)}".join(items)
    return f"{first}\n{INDENT * (depth + 1)}{inner}\n{INDENT * depth}{last}"


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
