"""`step` as the user writes it: a function that runs once per run and key. Owns its keys and options.

The first call stores its result; every later attempt gets the stored result, and the function does not run.
`run/step_execution.py` does that part.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import FrameType
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from trigger_sdk.compiler.points import KEY_MAX_LENGTH
from trigger_sdk.errors import CodecError, StepError
from trigger_sdk.options import Retry
from trigger_sdk.run.digests import digest_of
from trigger_sdk.run.step_call import StepCall, StepOptions, is_async, step_annotations
from trigger_sdk.run.step_execution import execute_step
from trigger_sdk.run.step_targets import target_annotation
from trigger_sdk.values import codec
from trigger_sdk.values.strict_json import text_problem

P = ParamSpec("P")
R = TypeVar("R")
First = TypeVar("First")

TIMEOUT_MAX_SECONDS = 7 * 86_400
_ONCE = Retry(max_attempts=1)


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    key: str = ..., /, *, retry: Retry | None = None, timeout: float | timedelta | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


# With options among the arguments, Python's types can describe the first argument, but not all of them.
@overload
def step(
    key: str,
    function: Callable[Concatenate[First, ...], R],
    first: First,
    /,
    *arguments: Any,
    retry: Retry | None,
    timeout: float | timedelta | None = None,
    **named: Any,
) -> R: ...
@overload
def step(
    key: str,
    function: Callable[Concatenate[First, ...], R],
    first: First,
    /,
    *arguments: Any,
    timeout: float | timedelta | None,
    **named: Any,
) -> R: ...
@overload
def step(
    key: str,
    function: Callable[..., R],
    /,
    *,
    retry: Retry | None,
    timeout: float | timedelta | None = None,
    **named: Any,
) -> R: ...
@overload
def step(key: str, function: Callable[..., R], /, *, timeout: float | timedelta | None, **named: Any) -> R: ...
@overload
def step(key: str, function: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> R: ...
def step(  # type: ignore[misc]  # a function's own argument `retry` cannot reach it: it is the step's
    key: Any = None,
    function: Any = None,
    /,
    *arguments: Any,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    **named: Any,
) -> Any:
    """`step("page-3", fetch, 3)` calls `fetch(3)` once per run, stores what it returns, and returns that from then on.

    With an `async def` function the result is awaited. `@step` makes each call of a function a step: its key is the
    function's name with the arguments, such as `fetch(3)`; `@step("page-{number}")` makes it from named arguments.
    `retry` repeats a failed call within the attempt, with the pauses it specifies; `timeout` bounds each call, in
    seconds. Raises what the function raises, StepTimedOut, DuplicateStep for a key already used in this attempt, and
    StepError for wrong use. Outside a run the function is simply called.
    """
    options = _options(retry, timeout)
    if callable(key) and function is None and not arguments and not named:
        return _decorated(key, None, options)
    if isinstance(key, str) and callable(function):
        return _call(StepCall(key, function, arguments, named, options, _target()))
    if (key is None or isinstance(key, str)) and function is None and not arguments and not named:
        return lambda decorated: _decorated(decorated, key, options)
    raise StepError(f"step({key!r:.60}, {function!r:.60}, …): needs a key and a function, as in `step(key, f, 1)`")


def _decorated(function: Callable[..., Any], template: str | None, options: StepOptions) -> Callable[..., Any]:
    if not callable(function) or isinstance(function, (staticmethod, classmethod)):
        raise StepError(f"@step needs a function, not {type(function).__name__}: put it below @staticmethod")
    if template is None and not hasattr(function, "__name__"):
        raise StepError(f"@step makes its key from the function's name, and {function!r:.60} has none: give it a key")
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        key = _key_of(function, template, bound.arguments)
        return _call(StepCall(key, function, arguments, named, options, _target()))

    return _marked_async(call) if is_async(function) else call


def _marked_async(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def awaited(*arguments: Any, **named: Any) -> Any:
        return await call(*arguments, **named)

    return awaited


def _key_of(function: Callable[..., Any], template: str | None, given: Mapping[str, Any]) -> str:
    if template is not None:
        try:
            return template.format(**given)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            known = ", ".join(given) or "none"
            raise StepError(f"the step key {template!r} does not fit the arguments ({known}): {error!r}") from None
    if not given:
        return function.__name__
    annotations = step_annotations(function)
    try:
        parts = [codec.encode(value, annotation=annotations.get(name), at=(name,)) for name, value in given.items()]
    except CodecError as error:
        message = f"the key of @step {function.__name__} is made from its arguments, and {error}"
        raise StepError(f'{message}; give it a key: @step("{function.__name__}-{{…}}")') from None
    text = b",".join(parts).decode()
    key = f"{function.__name__}({text})"
    return key if len(key) <= KEY_MAX_LENGTH else f"{function.__name__}({digest_of(text)})"


def _target() -> Any:
    """The annotation of the name that the caller's step is assigned to."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_globals is globals():
        frame = frame.f_back
    return target_annotation(frame) if frame is not None else None


def _call(call: StepCall) -> Any:
    _check_key(call.key)
    return execute_step(call)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= KEY_MAX_LENGTH:
        raise StepError(f"a step's key must have 1 to {KEY_MAX_LENGTH} characters, not {len(key)}: {key!r:.60}")
    if problem := text_problem(key):
        raise StepError(f"the step key {key!r}: {problem}")


def _options(retry: Retry | None, timeout: float | timedelta | None) -> StepOptions:
    if retry is not None and not isinstance(retry, Retry):
        raise StepError(f"retry={retry!r:.60}: must be a Retry(…)")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= TIMEOUT_MAX_SECONDS
    ):
        raise StepError(f"timeout={timeout!r:.60}: must be more than 0 and at most {TIMEOUT_MAX_SECONDS:,} seconds")
    return StepOptions(retry or _ONCE, seconds)


__all__ = ["step"]
