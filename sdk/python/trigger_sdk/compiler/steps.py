"""Checks steps before a task runs: keys that cannot be unique, and steps that nobody awaits.

Owns the rules; `step_calls.py` finds the steps. Computed keys are only known at run time.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from trigger_sdk.compiler.flow import Graph, Node
from trigger_sdk.compiler.names import Comprehension, Function, local_names, own_scope
from trigger_sdk.compiler.points import KEY_MAX_LENGTH, Finder
from trigger_sdk.compiler.source import Source
from trigger_sdk.compiler.step_calls import Loop, Scope, StepCalls, Use, literal, value_of
from trigger_sdk.errors import Problem
from trigger_sdk.values.strict_json import text_problem


def check_steps(source: Source, finder: Finder, step: Callable[..., Any]) -> Iterator[Problem]:
    """The problems of a task's uses of `step`; `finder` has its checkpoints, which share the keys."""
    uses = StepCalls(source, step).find()
    for use in uses:
        yield from _key_problems(source, use)
        if _is_lost_coroutine(source, use):
            yield source.problem(use.statement, "step_not_awaited", _not_awaited(source, use))
    yield from _duplicates(source, uses, finder)


def _key_problems(source: Source, use: Use) -> Iterator[Problem]:
    node, key = use.call.args[0], use.key
    if key is None:
        return
    if not isinstance(key, str):
        yield source.problem(node, "key_text", f"a step's key must be a text, not {key!r}: write {str(key)!r}")
    elif not 0 < len(key) <= KEY_MAX_LENGTH:
        message = f"a step's key must have 1 to {KEY_MAX_LENGTH} characters, not {len(key)}: change it"
        yield source.problem(node, "key_length", message)
    elif problem := text_problem(key):
        yield source.problem(node, "key_text", f"the key {key!r}: {problem}; give the step another")
    elif use.loops and _is_repeated(use):
        message = (
            f"the step key {key!r} is the same in each round of the loop on line {use.loops[-1].lineno}, and a key can "
            f"be used only once in a run: write `{step_form(key, use.loops)}`"
        )
        yield source.problem(node, "step_key_in_loop", message)


def _is_repeated(use: Use) -> bool:
    """Whether the step can run again after it has returned; if the loop is left then, it cannot."""
    if isinstance(use.loops[-1], Comprehension):
        return True
    graph = Graph(use.scope.node.body, set(), set(), ())
    start = graph.node_of.get(use.statement)
    if start is None:
        # In a class body, which the graph treats as a whole, or in the header of a handler.
        return True
    waiting: list[Node] = list(start.after)
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node is start:
            return True
        if node not in seen:
            seen.add(node)
            waiting += node.after
    return False


def _duplicates(source: Source, uses: list[Use], finder: Finder) -> Iterator[Problem]:
    places: list[tuple[str, ast.expr]] = [(use.key, use.call.args[0]) for use in uses if isinstance(use.key, str)]
    steps = len(places)
    places += [(point.key, point.call) for point in finder.points]
    step_nodes = {node for _, node in places[:steps]}
    first_of: dict[str, ast.expr] = {}
    for key, node in sorted(places, key=lambda place: (place[1].lineno, place[1].col_offset)):
        first = first_of.setdefault(key, node)
        # The finder refuses two checkpoints with the same key.
        if first is not node and (first in step_nodes or node in step_nodes):
            message = (
                f"the key {key!r} is already used on line {first.lineno}, and keys are unique in a run: "
                "give each step and each checkpoint its own key"
            )
            yield source.problem(node, "duplicate_key", message)


def _is_lost_coroutine(source: Source, use: Use) -> bool:
    is_bare = isinstance(use.statement, ast.Expr) and use.statement.value is use.call
    return is_bare and _is_async(source, use.scope, use.call.args[1])


def _is_async(source: Source, scope: Scope, node: ast.expr) -> bool:
    if not isinstance(node, ast.Name) or node.id not in scope.local:
        return inspect.iscoroutinefunction(value_of(source, scope, node))
    around: Scope | None = scope
    while around is not None and node.id not in local_names(around.node):
        around = around.outer
    bound = [
        inner
        for inner in own_scope(around.node.body if around else [])
        if (isinstance(inner, Function) and inner.name == node.id)
        or (isinstance(inner, ast.Name) and inner.id == node.id and isinstance(inner.ctx, ast.Store))
    ]
    return bool(bound) and all(isinstance(inner, ast.AsyncFunctionDef) for inner in bound)


def _not_awaited(source: Source, use: Use) -> str:
    function = ast.unparse(use.call.args[1])
    where = "" if isinstance(use.scope.node, ast.AsyncFunctionDef) else f"make `{use.scope.node.name}` `async def` and "
    return (
        f"`{function}` is `async def`, so this step returns a coroutine that never runs, because nothing awaits it: "
        f"{where}write `await {ast.unparse(use.call.func)}(…)`"
    )


def with_step_form(source: Source, problem: Problem) -> Problem:
    """Adds to the problem of a checkpoint in a loop the step that does the same, with the loop's own names."""
    if problem.code not in ("checkpoint_in_loop", "checkpoint_in_comprehension"):
        return problem
    found = _loops_around(source.node, (problem.line, problem.column - 1), ())
    if found is None:
        return problem
    call, loops = found
    key = call.args[0] if call.args else None
    text = literal(key) if key is not None else None
    form = f"step({ast.unparse(key)}, …)" if isinstance(key, ast.JoinedStr) and text is None else None
    form = form or step_form(text if isinstance(text, str) else "part", loops)
    where = "loop" if problem.code == "checkpoint_in_loop" else "comprehension"
    after = "after the loop" if where == "loop" else "after it"
    message = (
        f"a checkpoint cannot be in a {where}: make what each round does a step, such as `{form}`, "
        f"or save once {after}, with what it gathered"
    )
    return problem._replace(message=message)


def _loops_around(
    node: ast.AST, place: tuple[int, int], loops: tuple[Loop, ...]
) -> tuple[ast.Call, tuple[Loop, ...]] | None:
    """The call at a place, with the loops around it."""
    if isinstance(node, ast.Call) and (node.func.lineno, node.func.col_offset) == place:
        return node, loops
    inside = (*loops, node) if isinstance(node, Loop) else loops
    for child in ast.iter_child_nodes(node):
        if (found := _loops_around(child, place, inside)) is not None:
            return found
    return None


def step_form(key: str, loops: tuple[Loop, ...]) -> str:
    """`step(f"page-{number}", …)` with the variables of the loops."""
    names = [name for loop in loops if (name := _variable(loop)) is not None] or ["number"]
    stem = key.replace("{", "{{").replace("}", "}}").replace("\\", "\\\\").replace('"', '\\"')
    return f'step(f"{stem}-{"-".join("{" + name + "}" for name in names)}", …)'


def _variable(loop: Loop) -> str | None:
    if isinstance(loop, ast.While):
        return None
    target = loop.target if isinstance(loop, (ast.For, ast.AsyncFor)) else loop.generators[-1].target
    return next((node.id for node in ast.walk(target) if isinstance(node, ast.Name)), None)
