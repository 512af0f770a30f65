"""What to write where a name would be lost: the way out that fits the thing it holds, tried before it is proposed."""

import ast
from collections.abc import Callable, Collection
from dataclasses import replace

from trigger_sdk.compiler.flow import Node
from trigger_sdk.compiler.marks import NEVER_AGAIN
from trigger_sdk.compiler.points import Point
from trigger_sdk.compiler.resolve import resolve
from trigger_sdk.compiler.source import Source
from trigger_sdk.compiler.storable import is_made_by, is_never_stored
from trigger_sdk.compiler.things import Thing, thing_of

SAVE = "save it, or create it after the checkpoint"
_WAYS = {
    Thing.LOGGER: "create it at the top of the file, outside the task, where every attempt has it",
    Thing.TEMPORARY: "its files are gone after a crash, so create it after the checkpoint, and save the content of the "
    "files that are needed there, or where you stored them",
    Thing.WRITTEN: "an open file cannot be saved, so open it after the checkpoint, and save what was written",
    Thing.FILE: "an open file cannot be saved, so open it after the checkpoint",
    Thing.TRANSACTION: "a transaction cannot be saved, so end it before the checkpoint",
    Thing.GATHERING: "its work in flight would be gone, so collect the results before the checkpoint, and create "
    "another one after it",
}


class Advice:
    """The ways out for one function. `lost_with` tells which names a point would lose if it had these reruns; None if
    it has other problems."""

    def __init__(
        self,
        source: Source,
        made_again: Collection[ast.stmt],
        lost_with: Callable[[Point], set[str] | None],
    ) -> None:
        self._source = source
        self._made_again = made_again
        self._lost_with = lost_with

    def way_out(self, point: Point, name: str, lost: Node | None) -> str:
        """What to do about a name that a resume from the point would miss; `lost` bound it."""
        origin = lost.origin if lost is not None else None
        if isinstance(origin, ast.stmt) and origin in self._made_again:
            return (
                f"line {origin.lineno} is marked `# trigger: again`, but a resume does not enter the block that it "
                "stands in, so move it out of that"
            )
        value = getattr(origin, "context_expr", None) or getattr(origin, "value", None)
        thing = thing_of(self._source, value) if isinstance(value, ast.expr) else None
        if thing in _WAYS:
            return _WAYS[thing]
        if thing is Thing.CLIENT or (isinstance(value, ast.expr) and self._cannot_be_stored(value)):
            return self._again(point, name, origin)
        return SAVE

    def _cannot_be_stored(self, value: ast.expr) -> bool:
        called = value.func if isinstance(value, ast.Call) else None
        kind = resolve(self._source.function, self._source.node, called) if called is not None else None
        return isinstance(kind, type) and is_made_by(kind) and is_never_stored(kind)

    def _again(self, point: Point, name: str, origin: ast.AST | None) -> str:
        after = "create it after the checkpoint"
        thing = thing_of(self._source, getattr(origin, "value", None))
        if not isinstance(origin, ast.stmt) or origin not in point.assigned or thing in NEVER_AGAIN:
            return f"it cannot be saved, so {after}"
        reruns = sorted([*point.reruns, origin], key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]
        others = self._lost_with(replace(point, reruns=tuple(reruns)))
        if others is None or name in others:
            return f"it cannot be saved, so {after}"
        mark = f"mark line {origin.lineno} with `# trigger: again`, so that a resume makes it again"
        read = sorted(others & {node.id for node in ast.walk(origin) if isinstance(node, ast.Name)})
        if read:
            mark += f" (and save {', '.join(f'`{other}`' for other in read)}, which it reads)"
        return f"{mark}, or {after}"
