"""Crashes a run at every place where it stores something, and compares how it ends."""

import functools
import json
from collections.abc import Callable, Iterator
from typing import Any

from trigger_sdk.tasks import Task
from trigger_sdk.testing.attempt import Crash
from trigger_sdk.testing.results import Result
from trigger_sdk.testing.runs import attempt, run, task_of
from trigger_sdk.values import codec

SHOWN_MAX = 80
"""The most characters of a value in a message."""


def crash_everywhere(
    function: Callable[..., Any],
    payload: Any = None,
    *,
    before_each: Callable[[], object] = lambda: None,
    in_process: bool = False,
) -> Result:
    """Asserts that a run returns the same wherever it crashes; returns the Result of the run without a crash.

    It crashes once before and once after each checkpoint and step that the run without a crash stores, and then after
    all of them in one run: 2n + 2 runs for n of them. `before_each` is called before each run, for services of the
    test that remember. AssertionError names the place of the crash and the first difference.
    """
    before_each()
    whole = run(function, payload, in_process=in_process)
    task = task_of(function)
    if not whole.stored:
        raise AssertionError(f"{task.id} saves nothing with this payload, so there is no place to crash")
    for place, crashed in _crashes(task, whole):
        before_each()
        try:
            result = crashed(payload, in_process)
        except Exception as error:
            shown = f"{type(error).__name__}: {error}"
            raise AssertionError(
                f"{task.id}, crashed {place}, raises {_cut(shown)}; without a crash it ends"
            ) from error
        if (difference := first_difference(whole.output, result.output)) is not None:
            resumed = f"resumed from {result.resumed_from!r}" if result.resumed_from else "began again"
            raise AssertionError(f"{task.id}, crashed {place}, {resumed} and returned something else: {difference}")
    return whole


def _crashes(task: Task, whole: Result) -> Iterator[tuple[str, Callable[[Any, bool], Result]]]:
    keys = [entry.key for entry in whole.stored]
    for key in keys:
        for crash in (Crash(key, is_before=True), Crash(key)):
            yield str(crash), functools.partial(_crashed, task, [crash])
    yield f"after each of {', '.join(map(repr, keys))}", functools.partial(_crashed, task, [Crash(key) for key in keys])


def _crashed(task: Task, crashes: list[Crash], payload: Any, in_process: bool) -> Result:  # noqa: FBT001 - see above
    """A run that crashes at each of these places, one attempt each, and then ends."""
    text = json.dumps({} if payload is None else payload).encode()
    result = Result()
    for crash in crashes:
        stored = {entry.key for entry in result.stored}
        # What runs in parallel may have been stored along with an earlier one.
        if crash.key not in stored and not attempt(task, text, result, crash, in_process=in_process):
            return result
    attempt(task, text, result, None, in_process=in_process)
    return result


def first_difference(whole: Any, resumed: Any, path: str = "$") -> str | None:
    """The path of the first place where two outputs differ, and both values; None if they are the same."""
    if whole == resumed or codec.encode(whole) == codec.encode(resumed):  # NaN differs from itself
        return None
    if isinstance(whole, dict) and isinstance(resumed, dict):
        for key in [*whole, *(key for key in resumed if key not in whole)]:
            if key not in resumed or key not in whole:
                return f"{path}.{key} is {'missing' if key not in resumed else 'there only after the crash'}"
            if (found := first_difference(whole[key], resumed[key], f"{path}.{key}")) is not None:
                return found
    if isinstance(whole, (list, tuple)) and type(whole) is type(resumed):
        for place, (one, other) in enumerate(zip(whole, resumed, strict=False)):
            if (found := first_difference(one, other, f"{path}[{place}]")) is not None:
                return found
        return f"{path} has {len(resumed)} items instead of {len(whole)}"
    return f"{path} is {_cut(repr(resumed))} instead of {_cut(repr(whole))}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]} …"
