"""One use of a step, and what is read from the function it calls."""

import functools
import inspect
import types
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trigger_sdk.options import Retry
from trigger_sdk.run.step_targets import chosen
from trigger_sdk.values.schema import annotations_of


@dataclass(frozen=True, slots=True)
class StepOptions:
    retry: Retry
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class StepCall:
    """One use of a step. `target` is the annotation of the name that gets the result, None if there is none."""

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    options: StepOptions
    target: Any = None

    def __call__(self) -> Any:
        return self.function(*self.arguments, **self.named)

    @property
    def annotation(self) -> Any:
        return chosen(self.target, step_annotations(self.function).get("return"))


def is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the type's own: an instance may be callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


_read: "weakref.WeakKeyDictionary[types.FunctionType, Mapping[str, Any]]" = weakref.WeakKeyDictionary()
"""Weak, because a step's function may hold a page of data."""


def step_annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    plain = getattr(inspect.unwrap(function), "__func__", inspect.unwrap(function))
    if not isinstance(plain, types.FunctionType) or not plain.__annotations__:
        return {}
    if plain not in _read:
        try:
            _read[plain] = annotations_of(plain)
        except NameError:
            # Imported for type checkers only, so it names no class that the codec needs to know.
            _read[plain] = {}
    return _read[plain]
