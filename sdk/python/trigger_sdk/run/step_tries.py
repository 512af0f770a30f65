"""Calls a step's function until it succeeds or may not be tried again: pauses, time limits, and what is not retried."""

import inspect
import time
from typing import Any

from trigger_sdk.errors import AbortRun, RetryAfter, StepError, StepTimedOut, TriggerError
from trigger_sdk.run.context import ActiveRun
from trigger_sdk.run.deadlines import NotInMainThread, TimeLimitReached, call_within
from trigger_sdk.run.step_call import StepCall

_NOT_RETRIED = (AbortRun, TriggerError)
"""Errors that another try cannot change."""


def tried(run: ActiveRun, call: StepCall) -> Any:
    for number in range(1, call.options.retry.max_attempts + 1):
        try:
            with run.steps.trying(call.key):
                return not_awaitable(call, _bounded(run, call))
        except Exception as error:
            pause = _pause(run, call, number, error)
            if pause is None:
                raise
        time.sleep(pause)
    raise AssertionError(number)


async def tried_async(run: ActiveRun, call: StepCall) -> Any:
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


def _bounded(run: ActiveRun, call: StepCall) -> Any:
    seconds = call.options.timeout_seconds
    if seconds is None:
        return call()
    try:
        return call_within(seconds, call, may_interrupt=run.runtime.may_interrupt)
    except NotInMainThread:
        message = f"the step {call.key!r} has a timeout but runs in a thread, where nothing can end it"
        raise StepError(f"{message}: make its function `async def`, or call the step from the task itself") from None
    except TimeLimitReached:
        raise _timed_out(call) from None


def _timed_out(call: StepCall) -> StepTimedOut:
    return StepTimedOut(f"the step {call.key!r} took longer than {call.options.timeout_seconds:g} s")


def _pause(run: ActiveRun, call: StepCall, number: int, error: Exception) -> float | None:
    """Seconds until the next try; None if there is none."""
    # Every container imports this package, and few see a step fail.
    import random
    import traceback

    retry = call.options.retry
    if number >= retry.max_attempts or not _may_be_retried(error):
        return None
    if isinstance(error, RetryAfter):
        seconds = error.seconds
        if seconds > retry.max:
            # The run itself waits for a pause this long, because it then holds no process.
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


def not_awaitable(call: StepCall, value: Any) -> Any:
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        name = getattr(call.function, "__qualname__", repr(call.function))
        raise StepError(
            f"the step {call.key!r}: `{name}` returned an awaitable but is not an `async def` function: "
            "pass an `async def` function and its arguments, as in `await step(key, fetch, url)`"
        )
    return value
