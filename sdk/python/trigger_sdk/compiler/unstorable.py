"""Finds saved names whose values can never be stored.

Asked when the whole module is loaded, because what is called may be defined after the task.
"""

import ast
from collections.abc import Iterable, Iterator
from typing import Any

from trigger_sdk.compiler.local_types import LocalTypes
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.resolve import resolve
from trigger_sdk.compiler.source import Source
from trigger_sdk.compiler.storable import holds_something, is_made_by, is_never_stored
from trigger_sdk.compiler.things import Thing, thing_of
from trigger_sdk.errors import Problem

_WAYS = {
    Thing.LOGGER: "leave it out, and create it at the top of the file",
    Thing.CLIENT: "leave it out, and mark the line that makes it with `# trigger: again`",
    Thing.TEMPORARY: "save the content of its files, or where you stored them",
    Thing.WRITTEN: "save what it holds, or where you stored it",
    Thing.FILE: "save what was read from it",
    Thing.GATHERING: "save its results",
}
_OTHERWISE = (
    "save the data that the code after the checkpoint needs, or mark the line that makes it with `# trigger: again`"
)


def unstorable_names(source: Source, points: Iterable[Point], known: LocalTypes) -> Iterator[Problem]:
    """A problem for each entry whose name surely holds what cannot be stored."""
    for point in points:
        for name in point.binds:
            found = _unstorable(source, known, name)
            if found is not None:
                what, way = found
                message = f"`{name}` is saved by '{point.key}', but {what} cannot be stored: {way}"
                yield source.problem(point.entries[name], "unstorable", message)


def _unstorable(source: Source, known: LocalTypes, name: str) -> tuple[str, str] | None:
    """What the name holds, and what to do instead; None if it may be storable."""
    values = known.values_of(name)
    if values and all(isinstance(value, (ast.GeneratorExp, ast.Lambda)) for value in values):
        if isinstance(values[0], ast.Lambda):
            return "a lambda", "leave it out, and write a nested function, which is there after resuming too"
        return "a generator", f"make a list of it, `{name} = [{ast.unparse(values[0])[1:-1]}]`"
    kind = known.of(name)
    thing = thing_of(source, values[0]) if values else None
    is_exact = bool(values) and all(_is_construction(source, value) for value in values)
    if is_never_stored(kind, is_exact=is_exact):
        return f"a {_shown(kind)}", _WAYS.get(thing, _OTHERWISE) if thing else _OTHERWISE
    if thing in _WAYS and len(values) == 1 and holds_something(_called(source, values[0])):
        assert thing is not None
        return thing.value, _WAYS[thing]
    return None


def _is_construction(source: Source, value: ast.expr) -> bool:
    called = _called(source, value)
    return isinstance(called, type) and is_made_by(called)


def _called(source: Source, value: ast.expr) -> Any:
    call = value.value if isinstance(value, ast.Await) else value
    return resolve(source.function, source.node, call.func) if isinstance(call, ast.Call) else None


def _shown(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
