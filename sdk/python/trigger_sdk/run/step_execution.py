"""Runs a step: returns what is stored under its key, or calls the function and stores what it returns."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trigger_sdk.errors import CodecError
from trigger_sdk.run.context import ActiveRun, active_run
from trigger_sdk.run.step_call import StepCall, is_async
from trigger_sdk.run.step_tries import not_awaitable, tried, tried_async
from trigger_sdk.run.stored import STEP, StoredCheckpoint
from trigger_sdk.values import codec
from trigger_sdk.values.shapes import restore


def execute_step(call: StepCall) -> Any:
    """The result; for an `async def` function, an awaitable of it. Outside a run nothing is stored."""
    return _run_async(call) if is_async(call.function) else _run(call)


def _run(call: StepCall) -> Any:
    run = active_run()
    if run is None:
        return _decode(call, _encode(call, not_awaitable(call, call())))
    stored = run.steps.begin(call.key)
    if stored is not None:
        run.steps.finish(stored)
        return _decode(call, _data_of(run, stored))
    started = time.monotonic()
    with _released_on_failure(run, call):
        text = _encode(call, tried(run, call))
    run.runtime.save_step(call.key, text, time.monotonic() - started)
    run.steps.finish(_saved(call, text))
    return _decode(call, text)


async def _run_async(call: StepCall) -> Any:
    run = active_run()
    if run is None:
        return _decode(call, _encode(call, await call()))
    from trigger_sdk.run.off_loop import off_loop

    stored = run.steps.begin(call.key)
    if stored is not None:
        run.steps.finish(stored)
        data = stored.data if stored.data is not None else await off_loop(_data_of, run, stored)
        return _decode(call, data)
    started = time.monotonic()
    with _released_on_failure(run, call):
        text = _encode(call, await tried_async(run, call))
    await off_loop(run.runtime.save_step, call.key, text, time.monotonic() - started)
    run.steps.finish(_saved(call, text))
    return _decode(call, text)


def _saved(call: StepCall, text: bytes) -> StoredCheckpoint:
    return StoredCheckpoint(call.key, -1, text, (), kind=STEP)


@contextmanager
def _released_on_failure(run: ActiveRun, call: StepCall) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run.steps.release(call.key)
        raise


def _encode(call: StepCall, value: Any) -> bytes:
    try:
        return codec.encode(value, annotation=call.annotation, is_restored=True)
    except CodecError as error:
        raise _about_result(call, error) from None


def _decode(call: StepCall, text: bytes) -> Any:
    try:
        return restore(codec.decode(text), call.annotation, "result")
    except CodecError as error:
        raise _about_result(call, error) from None


def _about_result(call: StepCall, error: CodecError) -> CodecError:
    return type(error)(error.path, f"the result of the step {call.key!r}: {error.message}")


def _data_of(run: ActiveRun, stored: StoredCheckpoint) -> bytes:
    return stored.data if stored.data is not None else run.runtime.load_step(stored.key, stored.index)
