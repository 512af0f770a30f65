"""What the names of a function's source refer to, and what a call of it returns. Runs no code of the user's.

Only what is there without a call is found: globals, closures, builtins, and the attributes of modules, classes and
objects, without properties and `__getattr__`.
"""

import ast
import builtins
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from trigger_sdk.compiler.names import local_names
from trigger_sdk.values.schema import annotations_of


def resolve(function: types.FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef, expression: ast.AST) -> Any:
    """The object that a name, or an attribute of one, refers to in a function; None if it is not known."""
    if isinstance(expression, ast.Attribute):
        return member(resolve(function, node, expression.value), expression.attr)
    if not isinstance(expression, ast.Name) or expression.id in local_names(node):
        return None
    name = expression.id
    for free, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if free == name:
            try:
                return cell.cell_contents
            except ValueError:
                return None
    return function.__globals__.get(name, getattr(builtins, name, None))


def member(owner: Any, name: str) -> Any:
    """An attribute, without running what might compute it."""
    found = inspect.getattr_static(owner, name, None) if owner is not None else None
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


def result_type(
    function: types.FunctionType, node: ast.FunctionDef | ast.AsyncFunctionDef, expression: ast.expr
) -> Any:
    """The annotation of what a call, awaited or not, returns; None if it is not known."""
    is_awaited = isinstance(expression, ast.Await)
    call = expression.value if isinstance(expression, ast.Await) else expression
    if not isinstance(call, ast.Call):
        return None
    owner = resolve(function, node, call.func.value) if isinstance(call.func, ast.Attribute) else None
    return returned_by(resolve(function, node, call.func), owner, is_awaited=is_awaited)


def returned_by(called: Any, owner: Any = None, *, is_awaited: bool = False) -> Any:
    """The annotation of what a callable returns, after `await` if it is awaited; None if it has none.

    A class returns itself. `owner` is what the callable is an attribute of; it is what `Self` means.
    """
    if isinstance(called, type):
        return None if is_awaited else called
    plain = plain_function(called)
    if plain is None:
        return None
    found = _return_annotation(plain)
    if found is typing.Self:
        found = owner if isinstance(owner, type) or owner is None else type(owner)
    if inspect.iscoroutinefunction(plain) == is_awaited:
        return found
    from collections import abc

    is_awaitable = is_awaited and typing.get_origin(found) in (abc.Awaitable, abc.Coroutine)
    return typing.get_args(found)[-1] if is_awaitable else None


def plain_function(called: Any) -> types.FunctionType | None:
    """The function that a callable runs in the end, below partials, bound methods and decorators."""
    while isinstance(called, functools.partial):
        called = called.func
    if not callable(called):
        return None
    plain = inspect.unwrap(called)
    plain = getattr(plain, "__func__", plain)
    if not isinstance(plain, types.FunctionType):
        plain = inspect.getattr_static(type(called), "__call__", None)
    return plain if isinstance(plain, types.FunctionType) else None


def _return_annotation(function: types.FunctionType) -> Any:
    if "return" not in function.__annotations__:
        return None
    try:
        return annotations_of(function).get("return")
    except Exception:
        # Another annotation may name what is imported for type checkers only.
        return _evaluated(function, function.__annotations__["return"])


def _evaluated(function: Callable[..., Any], annotation: Any) -> Any:
    holder = types.SimpleNamespace(__annotations__={"return": annotation})
    try:
        return typing.get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)["return"]
    except Exception:
        # What cannot be read names nothing; Python itself does not evaluate it either.
        return None
