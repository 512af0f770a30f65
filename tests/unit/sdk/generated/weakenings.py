"""Ways to weaken the compiler: each removes a rule from the check, or a part of what the rewritten code does.

A weakening is a piece of a function's source replaced by another, so that one which no longer fits fails loudly.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from trigger_sdk.compiler import check, flow, names, points, reruns, rewrite
from trigger_sdk.run import plan

THEMES = {
    "nested functions read nothing": "functions", "handlers are never entered": "leaving",
    "loops never turn": "loops", "captures are bound if the pattern does not match": "matches",
    "deleting needs nothing": "deleting", "restored names may be deleted": "deleting",
    "context managers swallow nothing": "leaving", "context managers never raise": "exits",
    "what runs again may read rebound names": "withs",
    "what runs again needs nothing": "functions",
    "what is made again is never made again": "again", "what is made again needs nothing": "again",
    "what nobody reads is made again": "again", "what is made again may be deleted": "remaking",
    "what is made again may be bound again": "again",
    "globals may be set before": "outside", "imports and nested functions do not run again": "functions",
    "conditions are asked again": "branches", "statements of a branch run again": "branches",
}  # fmt: skip
"""The theme of the programs that are likely to show a weakening; no theme if any program may."""


class Weakening(NamedTuple):
    """Replaces `old` by `new` in a function of a module, or in a method of a class."""

    owner: Any
    function: str
    old: str
    new: str


WEAKENINGS: dict[str, list[Weakening]] = {
    "nested functions read nothing": [Weakening(names, "_merge_free", "_keep_first(into", "(lambda *_: None)(into")],
    "statements never raise": [Weakening(flow.Graph, "_node", "[exits.raised]", "[]")],
    "handlers are never entered": [Weakening(flow.Graph, "_try", "dispatch.after.append(start)", "pass")],
    "loops never turn": [
        Weakening(flow.Graph, "_for", "head.after += [bind, ", "head.after += ["),
        Weakening(flow.Graph, "_while", "[self._block(statement.body, head, inside), ", "["),
    ],
    "names that nobody saved are there": [
        Weakening(check.Check, "_lost_names", "facts.get(name,", "{}.get(name,")
    ],
    "what may be bound is bound": [Weakening(names.Names, "bind_maybe", "self.maybe.update", "set().update")],
    "captures are bound if the pattern does not match": [
        Weakening(flow.Graph, "_match", "*_values_of(case.pattern)", "case.pattern")
    ],
    "deleting needs nothing": [
        Weakening(names, "_visit_name", "    else:\n", "    elif not isinstance(node.ctx, ast.Del):\n")
    ],
    "restored names may be deleted": [
        Weakening(check.Check, "_deletions", "if name not in self.restored:", "if True:")
    ],
    "context managers swallow nothing": [
        Weakening(flow.Graph, "_with", "exits._replace(raised=leave)", "exits")
    ],
    "context managers never raise": [
        Weakening(flow.Graph, "_with", "statement.body, leave,", "statement.body, after,"),
        Weakening(reruns, "_add_reads", "_merge(needed, handler.live)", "pass"),
    ],
    "what runs again may read rebound names": [
        Weakening(reruns.Reruns, "_rebound", "if where is not None:", "if where == 0:")
    ],
    "what runs again needs nothing": [
        Weakening(reruns, "_add_reads", "_merge(needed, rerun.names.reads)", "pass"),
        Weakening(reruns.Reruns, "_needed", "_merge(needed, rerun.names.later)", "pass"),
    ],
    "what is made again is never made again": [
        Weakening(check.Check, "_fill", "point.again = tuple(", "point.again = () and tuple(")
    ],
    "what is made again needs nothing": [
        Weakening(reruns.Reruns, "_needed", "if is_marked(rerun):", "if rerun is None:"),
        Weakening(check.Check, "_lost_names", "sorted(reruns.evaluated(rerun))", "()"),
    ],
    "what nobody reads is made again": [
        Weakening(reruns.Reruns, "_needed", "if node not in waiting or not is_marked(node)", "if node")
    ],
    "what is made again may be deleted": [
        Weakening(check.Check, "__init__", "for statement in marked", "for statement in ()")
    ],
    "what is made again may be bound again": [
        Weakening(
            check.Check, "_lost_names", "self._lost(origins, reruns.repeated)",
            "None if any(getattr(o, 'origin', None) in reruns.repeated for o in origins) else self._lost(origins, ())",
        )
    ],
    "globals may be set before": [Weakening(check.Check, "_outer_assignments", "if names and", "if not names and")],
    "keys may be used twice": [Weakening(points.Finder, "run", "first is not point:", "not point:")],
    "nothing is carried": [Weakening(plan.Entry, "_texts", "in live.items()", "in ()")],
    "parameters are not carried": [
        Weakening(check.Check, "_fill", "origins & {SAVED, PARAMETER}", "origins & {SAVED}"),
    ],
    "imports and nested functions do not run again": [
        Weakening(rewrite.Rewriter, "_block", "(*Function, ast.Import, ast.ImportFrom, ", "(")
    ],
    "conditions are asked again": [Weakening(rewrite.Rewriter, "_if", "if inside > first:", "if inside < first:")],
    "statements of a branch run again": [
        Weakening(rewrite.Rewriter, "_with_points", "if is_last else", "if is_last or True else")
    ],
}  # fmt: skip


@contextmanager
def weakened(weakenings: list[Weakening]) -> Iterator[None]:
    """Applies these weakenings to the compiler inside the block."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for owner, name, old, new in weakenings:
            function = getattr(owner, name)
            undo.append((owner, name, function))
            source = _source_of.get(function) or textwrap.dedent(inspect.getsource(function))
            assert old in source, (name, old)
            changed = source.replace(old, new)
            scope: dict[str, Any] = {}
            exec(changed, function.__globals__, scope)
            _source_of[scope[name]] = changed
            _put(owner, name, function, scope[name])
        yield
    finally:
        for owner, name, function in reversed(undo):
            _put(owner, name, getattr(owner, name), function)


_source_of: dict[Any, str] = {}


def _put(owner: Any, name: str, old: Any, new: Any) -> None:
    """Replaces a function by another: in its owner, and wherever it was imported from there."""
    setattr(owner, name, new)
    for module in (check, flow, names, plan, points, reruns, rewrite):
        if vars(module).get(name) is old:
            setattr(module, name, new)
    for kind, builder in flow.Graph._BUILDERS.items():
        if builder is old:
            flow.Graph._BUILDERS[kind] = new
