"""The usual mistakes in the arguments of `checkpoint` and `step`, each with one message that shows the right form."""

import ast
import inspect
import types
from collections.abc import Iterator, Set
from typing import Any

from trigger_sdk.compiler.resolve import plain_function, returned_by
from trigger_sdk.compiler.source import Source
from trigger_sdk.compiler.step_calls import StepCalls, Use, value_of
from trigger_sdk.errors import Problem

_OPTIONS = frozenset({"retry", "timeout"})


def argument_mistake(call: ast.Call, local: Set[str]) -> str | None:
    """What is wrong with the form of a checkpoint's arguments; None if nothing is."""
    named = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    if not call.args and "key" in named:
        return f"the key of a checkpoint comes first, without a name: `checkpoint({ast.unparse(named['key'])}, …)`"
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return 'a checkpoint takes a key and at most one dict, written out: `checkpoint("key", {…})`'
    values = call.args[1:]
    names = [node.id for node in values if isinstance(node, ast.Name) and node.id in local]
    if len(values) > 1:
        shown = ", ".join(f"{name}={name}" for name in names) if len(names) == len(values) else "{…}"
        return (
            "a checkpoint takes a key and at most one dict; names are given by name: "
            f"`checkpoint({ast.unparse(call.args[0])}, {shown})`"
        )
    data = named.get("data")
    if not values and isinstance(data, ast.Dict) and any(_saves_a_name(*entry) for entry in _entries(data)):
        return (
            "the dict of a checkpoint is its second argument, without `data=`: "
            f"`checkpoint({ast.unparse(call.args[0]) if call.args else '…'}, {ast.unparse(data)})`"
        )
    return None


def _entries(node: ast.Dict) -> Iterator[tuple[ast.expr | None, ast.expr]]:
    yield from zip(node.keys, node.values, strict=True)


def _saves_a_name(key: ast.expr | None, value: ast.expr) -> bool:
    return isinstance(key, ast.Constant) and isinstance(value, ast.Name) and key.value == value.id


def check_step_arguments(source: Source, calls: StepCalls) -> Iterator[Problem]:
    """Wrong arguments of steps. Call it when the whole module is loaded: functions may be defined after the task."""
    for use in calls.find():
        message = _mistake(source, use)
        if message is not None:
            yield source.problem(use.call, "step_arguments", message)
    for call, statement in calls.others:
        named = {keyword.arg for keyword in call.keywords}
        is_alone = isinstance(statement, ast.Expr) and statement.value is call
        if named & {"key", "function"}:
            message = 'the key and the function of a step come first, without names: `step("key", function, …)`'
            yield source.problem(call, "step_arguments", message)
        elif is_alone and call.args:
            message = "this step has no function, so it does nothing: write `step(key, function, …)`"
            yield source.problem(call, "step_arguments", message)


def _mistake(source: Source, use: Use) -> str | None:
    key, function = use.call.args[:2]
    if isinstance(function, ast.Starred) or isinstance(key, ast.Starred):
        return None
    known = value_of(source, use.scope, key)
    if callable(known) and not isinstance(known, str):
        shown = ast.unparse(key)
        return f'the key of a step comes first, then its function: `step("{shown.lower()}", {shown}, …)`'
    if isinstance(function, ast.Call):
        return _called_too_early(source, use, function)
    if isinstance(function, ast.Constant):
        return f"the second argument of a step is a function, not {function.value!r}: `step(key, function, …)`"
    return _misfit(value_of(source, use.scope, function), ast.unparse(function), use.call)


def _called_too_early(source: Source, use: Use, inner: ast.Call) -> str | None:
    called = value_of(source, use.scope, inner.func)
    plain = plain_function(called)
    if plain is None or isinstance(called, type):
        return None
    result = returned_by(called)
    gives_no_function = isinstance(result, type) and not any("__call__" in vars(base) for base in result.__mro__)
    if inspect.iscoroutinefunction(plain) or (gives_no_function and result not in (object, type)):
        name, rest = ast.unparse(inner.func), ", ".join(ast.unparse(part) for part in [*inner.args, *inner.keywords])
        key = ast.unparse(use.call.args[0])
        return (
            f"`{ast.unparse(inner)}` runs before the step: pass the function and its arguments separately, "
            f"`step({key}, {name}{', ' if rest else ''}{rest})`"
        )
    return None


def _misfit(function: Any, shown: str, call: ast.Call) -> str | None:
    """Why a plain function cannot be called with the arguments of a step; None if it can, or if nobody can tell."""
    arguments = call.args[2:]
    names = [keyword.arg for keyword in call.keywords if keyword.arg not in _OPTIONS]
    if (
        not isinstance(function, types.FunctionType)
        or hasattr(function, "__wrapped__")
        or None in names
        or any(isinstance(argument, ast.Starred) for argument in arguments)
    ):
        return None
    try:
        inspect.signature(function).bind(*arguments, **dict.fromkeys(filter(None, names)))
    except TypeError as error:
        own = (
            "; the options of a step are `retry=Retry(…)` and `timeout=…`" if "unexpected keyword" in str(error) else ""
        )
        return f"`{shown}` cannot be called with the arguments of this step: {error}{own}"
    return None
