"""Stored values as a tree for viewing: exact numbers, the types that task code sees, bounded in size. Pure; no HTML.

Numbers stay the text in which they are stored, because a float or a JavaScript number would change them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trigger_sdk.values.custom import is_custom_name

from apps.storage.values import MAX_DEPTH, readable

NODES_SHOWN = 200
CHILDREN_SHOWN = 50
TEXT_SHOWN = 1_000
OPEN_DEPTH = 2
CUT_TEXT = f"nested over {MAX_DEPTH} levels deep: not shown, but in the raw JSON"

SCALARS = {
    "decimal": "Decimal",
    "uuid": "UUID",
    "datetime": "datetime",
    "date": "date",
    "time": "time",
    "timedelta": "timedelta",
    "bytes": "bytes",
    "path": "Path",
    "posix_path": "PurePosixPath",
    "windows_path": "PureWindowsPath",
    "float": "float",
}
BRACKETS = {
    "dict": ("{", "}"),
    "list": ("[", "]"),
    "tuple": ("(", ")"),
    "set": ("{", "}"),
    "frozenset": ("{", "}"),
    "deque": ("[", "]"),
}
CONTAINERS = ("tuple", "set", "frozenset", "deque")


class Number(str):
    """The digits of a number as they are stored."""

    __slots__ = ()


class Cut(Number):
    """Stands for what is nested too deeply; as text it is NaN, which no stored value contains."""

    __slots__ = ()


class Pairs(list[tuple[str, Any]]):
    """A JSON object with its order and duplicates."""


class PathInvalid(Exception):
    """A path that leads nowhere in this value."""


@dataclass(slots=True)
class Node:
    """One line of the tree. `path` is the positions that lead to it, such as `0.3.12`; all children are counted."""

    label: str
    kind: str
    text: str
    path: str
    child_count: int = 0
    children: list[Node] = field(default_factory=list)
    is_open: bool = False
    is_cut: bool = False
    brackets: tuple[str, str] = ("", "")

    @property
    def alone(self) -> tuple[Node]:
        """The node as the list that a template draws."""
        return (self,)

    @property
    def is_container(self) -> bool:
        return bool(self.brackets[0])

    @property
    def shown_kind(self) -> str:
        """The type's name; empty if the text already says it (None)."""
        return "" if self.text == self.kind else self.kind

    @property
    def is_lazy(self) -> bool:
        """Whether its children are fetched when it is opened."""
        return self.child_count > 0 and not self.children

    @property
    def next_offset(self) -> int | None:
        """Where the children that are not shown begin; None if all are shown."""
        shown = len(self.children)
        return shown if 0 < shown < self.child_count else None


@dataclass(frozen=True, slots=True)
class Step:
    """A node visited while walking a tree, at its beginning or after its children: a page is drawn in one loop, because
    templates that include themselves hit Python's recursion limit."""

    node: Node
    is_end: bool = False


def parse(text: str) -> Any:
    """The value of stored JSON text with exact numbers, cut where it is nested over 64 levels deep.

    Raises ValueError for other texts.
    """
    return json.loads(readable(text), parse_int=Number, parse_float=Number, parse_constant=Cut, object_pairs_hook=Pairs)


def steps(nodes: Iterable[Node]) -> Iterator[Step]:
    """The nodes with everything below them in drawing order; a container with children has an end too."""
    waiting = [Step(node) for node in nodes][::-1]
    while waiting:
        step = waiting.pop()
        yield step
        if step.node.child_count and not step.is_end:
            waiting.append(Step(step.node, is_end=True))
            waiting += [Step(child) for child in reversed(step.node.children)]


def tree(value: Any, *, label: str = "", path: str = "", node_budget: int = NODES_SHOWN) -> Node:
    """The value as nodes, outer levels first, at most `node_budget` of them."""
    root, entries = _node(label, value, path)
    root.is_open = True
    waiting = deque([(root, entries, 1)])
    left = node_budget - 1
    while waiting and left > 0:
        parent, entries, depth = waiting.popleft()
        for position, (child_label, child) in enumerate(entries[: min(CHILDREN_SHOWN, left)]):
            node, grandchildren = _node(child_label, child, _join(parent.path, position))
            node.is_open = depth < OPEN_DEPTH and 0 < len(grandchildren) <= CHILDREN_SHOWN
            parent.children.append(node)
            left -= 1
            if grandchildren:
                waiting.append((node, grandchildren, depth + 1))
    _close_unfilled(root)
    return root


def branch(value: Any, path: str, offset: int) -> Node:
    """The node at the path with the next children from `offset`, each closed; raises PathInvalid."""
    label, found = "", value
    for step in filter(None, path.split(".")):
        entries = _look_at(found).entries
        if not step.isdecimal() or len(step) > 9 or int(step) >= len(entries):
            raise PathInvalid(path)
        label, found = entries[int(step)]
    node, entries = _node(label, found, path)
    shown = entries[offset : offset + CHILDREN_SHOWN]
    for position, (child_label, child) in enumerate(shown, start=offset):
        node.children.append(_node(child_label, child, _join(path, position))[0])
    return node


def full_text(value: Any, path: str) -> str:
    """The whole text of the scalar at the path; raises PathInvalid."""
    node = branch(value, path, 0)
    if node.is_container:
        raise PathInvalid(path)
    for step in filter(None, path.split(".")):
        value = _look_at(value).entries[int(step)][1]
    return _look_at(value).text


def excerpt(text: str, *, is_cut: bool) -> str:
    """A small object as `order_id="A1" amount=3`; other or cut text as it is."""
    if not is_cut:
        try:
            value = parse(text)
        except ValueError:
            return printable(text)
        if isinstance(value, Pairs):
            return printable(" ".join(f"{key}={_node(key, child, '')[0].text}" for key, child in value))
    return printable(text)


def printable(text: str) -> str:
    """Text that any encoder accepts: lone surrogates become their escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _join(path: str, position: int) -> str:
    return f"{path}.{position}" if path else str(position)


def _close_unfilled(root: Node) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        node.is_open = node.is_open and bool(node.children)
        waiting.extend(node.children)


def _node(label: str, value: Any, path: str) -> tuple[Node, Sequence[tuple[str, Any]]]:
    kind, shape, entries, text = _look_at(value)
    if shape:
        word, plural = ("entry", "entries") if shape == "dict" else ("item", "items")
        count = f"{len(entries):,} {word if len(entries) == 1 else plural}"
        return Node(printable(label), kind, count, path, child_count=len(entries), brackets=BRACKETS[shape]), entries
    is_cut = len(text) > TEXT_SHOWN
    shown = printable(f"{text[:TEXT_SHOWN]}…" if is_cut else text)
    return Node(printable(label), kind, shown, path, is_cut=is_cut), ()


class _Look(NamedTuple):
    """A value as the task's code sees it; `shape` is the kind of container that it is drawn as, empty for a scalar."""

    kind: str
    shape: str
    entries: Sequence[tuple[str, Any]]
    text: str


def _look_at(value: Any) -> _Look:
    if isinstance(value, Pairs):
        return _look_at_object(value)
    if isinstance(value, list):
        return _container("list", _numbered(value))
    if isinstance(value, Cut):
        return _scalar("cut", CUT_TEXT)
    if isinstance(value, Number):
        return _scalar("int" if value.lstrip("-").isdecimal() else "float", str(value))
    if isinstance(value, str):
        return _scalar("str", json.dumps(value, ensure_ascii=False))
    return _scalar("None" if value is None else "bool", str(value))


def _look_at_object(pairs: Pairs) -> _Look:
    form = dict(pairs)
    name, inner = form.get("$type"), form.get("value")
    if name == "dict" and isinstance(inner, Pairs):
        return _container("dict", inner)
    if name in CONTAINERS and isinstance(inner, list):
        return _container(str(name), _numbered(inner))
    if isinstance(name, str) and name in SCALARS and isinstance(inner, str):
        zone = form.get("zone")
        return _scalar(SCALARS[name], f"{inner} {zone}" if isinstance(zone, str) else inner)
    if is_custom_name(name) and len(form) == len(pairs) == 2 and "value" in form:
        return _look_at(inner)._replace(kind=str(name))
    return _container("dict", pairs)


def _container(shape: str, entries: Sequence[tuple[str, Any]]) -> _Look:
    return _Look(shape, shape, entries, "")


def _scalar(kind: str, text: str) -> _Look:
    return _Look(kind, "", (), text)


def _numbered(items: list[Any]) -> Sequence[tuple[str, Any]]:
    return [(str(index), item) for index, item in enumerate(items)]
