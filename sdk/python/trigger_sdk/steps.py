"""`step`: a function that runs once per run and key. Owns keys, retries and time limits of steps, not their storage.

The first time its result is stored; every later attempt is given what was stored, and the function does not run.
"""

import functools
import hashlib
import inspect
import random
import time
import traceback
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from trigger_sdk import codec, context
from trigger_sdk.deadlines import NotInMainThread, TimeLimitReached, call_within
from trigger_sdk.errors import AbortRun, CodecError, RetryAfter, StepError, StepTimedOut, TriggerError
from trigger_sdk.options import Retry
from trigger_sdk.schema import annotations_of
from trigger_sdk.shapes import restore
from trigger_sdk.strict_json import text_problem

if TYPE_CHECKING:
    from trigger_sdk.context import ActiveRun, StoredCheckpoint

P = ParamSpec("P")
R = TypeVar("R")

KEY_MAX_LENGTH = 200
TIMEOUT_MAX_SECONDS = 7 * 86_400
_ONCE = Retry(max_attempts=1)
_NOT_RETRIED = (AbortRun, TriggerError)
"""What another try cannot change."""


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    key: str = ..., /, *, retry: Retry | None = None, timeout: float | timedelta | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
@overload
def step(
    key: str,
    function: Callable[..., R],
    /,
    *arguments: Any,
    retry: Retry | None = None,
    timeout: float | timedelta | None = None,
    **named: Any,
) -> R: ...
def step(
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
    `retry` repeats a failed call within the attempt, after the pauses that it says; `timeout` bounds each call, in
    seconds. Raises what the function raises, StepTimedOut, DuplicateStep for a key that this attempt has used, and
    StepError for a wrong use. Outside a run the function is simply called.
    """
    options = _options(retry, timeout)
    if callable(key) and function is None and not arguments and not named:
        return _decorated(key, None, options)
    if isinstance(key, str) and callable(function):
        return _call(_Call(key, function, arguments, named, options))
    if (key is None or isinstance(key, str)) and function is None and not arguments and not named:
        return lambda decorated: _decorated(decorated, key, options)
    raise StepError(f"step({key!r:.60}, {function!r:.60}, …): a key and a function are needed, as in `step(key, f, 1)`")


@dataclass(frozen=True, slots=True)
class _Options:
    retry: Retry
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True)
class _Call:
    """One use of a step."""

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    options: _Options

    def __call__(self) -> Any:
        return self.function(*self.arguments, **self.named)

    @property
    def annotation(self) -> Any:
        return _returned(self.function)


def _decorated(function: Callable[..., Any], template: str | None, options: _Options) -> Callable[..., Any]:
    if not callable(function) or isinstance(function, (staticmethod, classmethod)):
        raise StepError(f"@step needs a function, not {type(function).__name__}: put it below @staticmethod")
    if template is None and not hasattr(function, "__name__"):
        raise StepError(f"@step makes its key from the function's name, and {function!r:.60} has none: give it a key")
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        bound = signature.bind(*arguments, **named)
        bound.apply_defaults()
        return _call(_Call(_key_of(function, template, bound.arguments), function, arguments, named, options))

    return _marked_async(call) if _is_async(function) else call


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
    annotations = _annotations(function)
    try:
        parts = [codec.encode(value, annotation=annotations.get(name), at=(name,)) for name, value in given.items()]
    except CodecError as error:
        message = f"the key of @step {function.__name__} is made from its arguments, and {error}"
        raise StepError(f'{message}; give it a key: @step("{function.__name__}-{{…}}")') from None
    text = b",".join(parts).decode()
    key = f"{function.__name__}({text})"
    return key if len(key) <= KEY_MAX_LENGTH else f"{function.__name__}({hashlib.sha256(text.encode()).hexdigest()})"


def _call(call: _Call) -> Any:
    _check_key(call.key)
    return _run_async(call) if _is_async(call.function) else _run(call)


def _check_key(key: str) -> None:
    if not 0 < len(key) <= KEY_MAX_LENGTH:
        raise StepError(f"a step's key has 1 to {KEY_MAX_LENGTH} characters, not {len(key)}: {key!r:.60}")
    if problem := text_problem(key):
        raise StepError(f"the step key {key!r}: {problem}")


def _run(call: _Call) -> Any:
    run = context.active_run()
    if run is None:
        return _decode(call, _encode(call, _not_awaitable(call, call())))
    stored = run.steps.begin(call.key)
    if stored is not None:
        run.steps.finish(stored)
        return _decode(call, _data_of(run, stored))
    started = time.monotonic()
    with _released_on_failure(run, call):
        text = _encode(call, _tried(run, call))
    run.runtime.save_step(call.key, text, time.monotonic() - started)
    run.steps.finish(_saved(call, text))
    return _decode(call, text)


async def _run_async(call: _Call) -> Any:
    run = context.active_run()
    if run is None:
        return _decode(call, _encode(call, await call()))
    from trigger_sdk.off_loop import off_loop

    stored = run.steps.begin(call.key)
    if stored is not None:
        run.steps.finish(stored)
        data = stored.data if stored.data is not None else await off_loop(_data_of, run, stored)
        return _decode(call, data)
    started = time.monotonic()
    with _released_on_failure(run, call):
        text = _encode(call, await _tried_async(run, call))
    await off_loop(run.runtime.save_step, call.key, text, time.monotonic() - started)
    run.steps.finish(_saved(call, text))
    return _decode(call, text)


def _saved(call: _Call, text: bytes) -> "context.StoredCheckpoint":
    return context.StoredCheckpoint(call.key, -1, text, (), kind=context.STEP)


@contextmanager
def _released_on_failure(run: "ActiveRun", call: _Call) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run.steps.release(call.key)
        raise


def _tried(run: "ActiveRun", call: _Call) -> Any:
    for number in range(1, call.options.retry.max_attempts + 1):
        try:
            with run.steps.trying(call.key):
                return _not_awaitable(call, _bounded(run, call))
        except Exception as error:
            pause = _pause(run, call, number, error)
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError(number)


async def _tried_async(run: "ActiveRun", call: _Call) -> Any:
    import asyncio

    seconds = call.options.timeout_seconds
    for number in range(1, call.options.retry.max_attempts + 1):
        try:
            own = asyncio.timeout(seconds)
            try:
                with run.steps.trying(call.key):
                    async with own:
                        return await call()
            except TimeoutError:
                if not own.expired():
                    raise
                raise _timed_out(call) from None
        except Exception as error:
            pause = _pause(run, call, number, error)
            if pause is None:
                raise
        await asyncio.sleep(pause)
    raise AssertionError(number)


def _bounded(run: "ActiveRun", call: _Call) -> Any:
    seconds = call.options.timeout_seconds
    if seconds is None:
        return call()
    try:
        return call_within(seconds, call, may_interrupt=run.runtime.may_interrupt)
    except NotInMainThread:
        message = f"the step {call.key!r} has a timeout and runs in a thread, where nothing can end it"
        raise StepError(f"{message}: make its function `async def`, or call the step from the task itself") from None
    except TimeLimitReached:
        raise _timed_out(call) from None


def _timed_out(call: _Call) -> StepTimedOut:
    return StepTimedOut(f"the step {call.key!r} took longer than {call.options.timeout_seconds:g} s")


def _pause(run: "ActiveRun", call: _Call, number: int, error: Exception) -> float | None:
    """Seconds until the next try; None where there is none."""
    retry = call.options.retry
    if number >= retry.max_attempts or not _may_be_retried(error):
        return None
    if isinstance(error, RetryAfter):
        seconds = error.seconds
        if seconds > retry.max:
            # So long a pause is the run's, which holds no process meanwhile.
            return None
    else:
        seconds = retry.delay_seconds(number, random.random())  # noqa: S311 - jitter
    shown = "".join(traceback.format_exception_only(error)).strip()
    message = f"step {call.key!r} failed, try {number} of {retry.max_attempts}; again in {seconds:.1f} s: {shown}"
    run.runtime.log("warning", message, {"step": call.key})
    return run.runtime.pause_seconds(seconds)


def _may_be_retried(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_may_be_retried(inner) for inner in error.exceptions)
    return not isinstance(error, _NOT_RETRIED)


def _not_awaitable(call: _Call, value: Any) -> Any:
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        name = getattr(call.function, "__qualname__", repr(call.function))
        raise StepError(
            f"the step {call.key!r}: `{name}` returned something to await and is no `async def` function: "
            "pass an `async def` function and its arguments, as in `await step(key, fetch, url)`"
        )
    return value


def _encode(call: _Call, value: Any) -> bytes:
    try:
        return codec.encode(value, annotation=call.annotation, is_restored=True)
    except CodecError as error:
        raise _about_result(call, error) from None


def _decode(call: _Call, text: bytes) -> Any:
    try:
        return restore(codec.decode(text), call.annotation, "result")
    except CodecError as error:
        raise _about_result(call, error) from None


def _about_result(call: _Call, error: CodecError) -> CodecError:
    return type(error)(error.path, f"the result of the step {call.key!r}: {error.message}")


def _data_of(run: "ActiveRun", stored: "StoredCheckpoint") -> bytes:
    return stored.data if stored.data is not None else run.runtime.load_step(stored.key, stored.index)


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the type's own: an instance may be callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _returned(function: Callable[..., Any]) -> Any:
    return _annotations(function).get("return")


_read: "weakref.WeakKeyDictionary[types.FunctionType, Mapping[str, Any]]" = weakref.WeakKeyDictionary()
"""Weak, for a step's function may hold a page of data."""


def _annotations(function: Callable[..., Any]) -> Mapping[str, Any]:
    while isinstance(function, functools.partial):
        function = function.func
    plain = getattr(inspect.unwrap(function), "__func__", inspect.unwrap(function))
    if not isinstance(plain, types.FunctionType) or not plain.__annotations__:
        return {}
    if plain not in _read:
        try:
            _read[plain] = annotations_of(plain)
        except NameError:
            # Imported for type checkers only: then it names no class that the codec would have to know.
            _read[plain] = {}
    return _read[plain]


def _options(retry: Retry | None, timeout: float | timedelta | None) -> _Options:
    if retry is not None and not isinstance(retry, Retry):
        raise StepError(f"retry={retry!r:.60}: a Retry(…) is needed")
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= TIMEOUT_MAX_SECONDS
    ):
        raise StepError(f"timeout={timeout!r:.60}: seconds from above 0 to {TIMEOUT_MAX_SECONDS:,} are needed")
    return _Options(retry or _ONCE, seconds)


__all__ = ["step"]
