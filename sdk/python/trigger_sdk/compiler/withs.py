"""The `with`s around a resume point, which a resume enters again: what that would undo, or find empty."""

import ast
from collections.abc import Iterator

from trigger_sdk.compiler.marks import AGAIN, RE_ENTER, has_mark
from trigger_sdk.compiler.reruns import Reruns
from trigger_sdk.compiler.things import Thing, thing_of
from trigger_sdk.errors import Problem

_GATHERING = (Thing.GATHERING, Thing.FILE, Thing.TEMPORARY, Thing.WRITTEN)
_GONE = {
    Thing.TEMPORARY: "save the content of the files that the code after it needs, or where you stored them",
    Thing.WRITTEN: "save what the file holds, or where you stored it",
}
"""Things whose content is lost with the attempt, so that no mark makes re-entering right."""


def check_withs(reruns: Reruns) -> Iterator[Problem]:
    """The problems of the `with`s around the point of `reruns`."""
    for statement in reruns.point.enclosing:
        if isinstance(statement, (ast.With, ast.AsyncWith)):
            for item in statement.items:
                yield from _target(reruns, item)
            last = max(item.context_expr.end_lineno or statement.lineno for item in statement.items)
            for item in statement.items:
                yield from _item(reruns, item, statement.lineno, last)


def _target(reruns: Reruns, item: ast.withitem) -> Iterator[Problem]:
    for target in ast.walk(item.optional_vars) if item.optional_vars is not None else ():
        if isinstance(target, (ast.Attribute, ast.Subscript)):
            message = (
                f"`{ast.unparse(target)}` is set again when resuming from '{reruns.point.key}' re-enters the `with`: "
                "use a plain name after `as`"
            )
            yield reruns.source.problem(target, "with_target", message)


def _item(reruns: Reruns, item: ast.withitem, first: int, last: int) -> Iterator[Problem]:
    source, key, shown = reruns.source, reruns.point.key, ast.unparse(item.context_expr)
    thing = thing_of(source, item.context_expr)
    is_marked = has_mark(source, first, last, AGAIN, RE_ENTER)
    used = next(((name, line) for name, line, _ in _used_before(reruns, item)), None)
    if thing is Thing.TRANSACTION and not has_mark(source, first, last, RE_ENTER):
        message = (
            f"`with {shown}` looks like a transaction around the checkpoint '{key}': its rollback would undo work that "
            "resuming skips; end it before the checkpoint, or mark the `with` with `# trigger: re-enter` if "
            "re-entering it is right"
        )
        yield source.problem(item.context_expr, "transaction", message)
    elif thing in _GONE and (used is not None or not is_marked):
        message = (
            f"`with {shown}` is re-entered when resuming from '{key}', and what its block has written is gone then: "
            f"end the `with` before the checkpoint, and {_GONE[thing]}"
        )
        yield source.problem(item.context_expr, "gathering_with", message)
    elif thing in _GATHERING and not is_marked:
        message = (
            f"`with {shown}` is re-entered when resuming from '{key}', without what its block has done so far; end it "
            "before the checkpoint, or mark the `with` with `# trigger: again` if a new one does as well"
        )
        yield source.problem(item.context_expr, "gathering_with", message)
    elif thing is not Thing.TRANSACTION and not is_marked:
        yield from _state(reruns, item, thing)


def _state(reruns: Reruns, item: ast.withitem, thing: Thing | None) -> Iterator[Problem]:
    for name, before, after in _used_before(reruns, item):
        ways = ["use a `with` on each side of the checkpoint", "mark the `with` with `# trigger: again` if a new"]
        ways[1] += " one does as well"
        if thing is Thing.CLIENT:
            ways.reverse()
        message = (
            f"`{name}` is used on line {before} before the checkpoint '{reruns.point.key}' and on line {after} after "
            "it; resuming re-enters the `with`, so what it gathered would be gone: " + ", or ".join(ways)
        )
        yield reruns.source.problem(item.context_expr, "with_state", message)


def _used_before(reruns: Reruns, item: ast.withitem) -> Iterator[tuple[str, int, int]]:
    """Names that the `with` binds and that both sides of the point use, each with a line before and after it."""
    bound = reruns.graph.node_of[item]
    for name in sorted(bound.names.binds & set(reruns.needed)):
        used = [node.line for node in reruns.between(bound) if name in node.names.all_reads]
        # A nested function defined before the `with` may be called inside it.
        used += [n.line for n in reruns.graph.nodes if n.position < bound.position and name in n.names.later]
        if used:
            yield name, used[0], reruns.needed[name]
