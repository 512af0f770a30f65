"""`run`: the attempts of one run, one after the other."""

import inspect
import json
from collections.abc import Callable
from typing import Any

from trigger_sdk.run.stored import CHECKPOINT
from trigger_sdk.tasks import Task, registry
from trigger_sdk.testing.attempt import Crash, attempt_here
from trigger_sdk.testing.forked import attempt_forked
from trigger_sdk.testing.results import Result


def run(
    function: Callable[..., Any],
    payload: Any = None,
    *,
    crash_after: str | None = None,
    crash_before: str | None = None,
    resume: "Result | BaseException | None" = None,
    in_process: bool = False,
) -> Result:
    """Runs a task as a worker would, and once more if it is to crash first.

    `crash_after` names the checkpoint or step whose saving is the last thing the first attempt does; with
    `crash_before` it dies right before it is saved. What the task raises is raised here, with the `Result` so far as
    its `trigger_result`; give that exception or a Result as `resume` to continue as the next attempt. LookupError if
    the place of the crash was never reached, AttemptCrashed if the process died otherwise. The pauses between the
    tries of a step are skipped.

    Each attempt is a fork of the test's process: it sees what the test has patched, and the calls of `unittest.mock`
    objects, `print` and `logging` come back, but no other change of an object does. With `in_process=True` the
    attempts run in the test's own process, where a test can see and debug everything, but nothing is lost in a crash
    that the process would lose. Do not do that inside a running event loop: use `asyncio.to_thread(run, …)` there.
    """
    __tracebackhide__ = True
    task = task_of(function)
    text = json.dumps({} if payload is None else payload).encode()
    result = _continued(resume)
    crash = _crash_of(crash_after, crash_before)
    if crash is not None and not attempt(task, text, result, crash, in_process=in_process):
        saved = [entry.key for entry in result.stored]
        raise LookupError(f"{task.id} ended without saving {crash.key!r}; it saved {saved}")
    attempt(task, text, result, None, in_process=in_process)
    return result


def attempt(task: Task, payload: bytes, result: Result, crash: Crash | None, *, in_process: bool) -> bool:
    """Runs one attempt; returns whether it crashed as asked."""
    __tracebackhide__ = True
    result.attempts += 1
    points = [entry.key for entry in result.stored if entry.kind == CHECKPOINT]
    result.resumed_from = points[-1] if points else None
    try:
        return (attempt_here if in_process else attempt_forked)(task, payload, result, crash)
    except BaseException as error:
        error.trigger_result = result  # type: ignore[attr-defined]
        raise


def _crash_of(after: str | None, before: str | None) -> Crash | None:
    if after is not None and before is not None:
        raise TypeError("give crash_after or crash_before, not both: a run crashes once, and `resume` continues it")
    if before is not None:
        return Crash(before, is_before=True)
    return None if after is None else Crash(after)


def _continued(resume: "Result | BaseException | None") -> Result:
    if resume is None:
        return Result()
    earlier = resume if isinstance(resume, Result) else getattr(resume, "trigger_result", None)
    if not isinstance(earlier, Result):
        raise TypeError(f"resume takes a Result or an exception that `run` passed on, not {resume!r}")
    return Result(None, earlier.attempts, None, list(earlier.stored), list(earlier.logs))


def task_of(function: Callable[..., Any]) -> Task:
    for task in registry.values():
        if task.function is function or inspect.unwrap(task.function) is inspect.unwrap(function):
            return task
    raise LookupError(f"{getattr(function, '__qualname__', function)!s} is not a task: it needs @task(…)")
