"""What tracers see of a task: the user's lines and no others, on the first run and after resuming."""

import itertools
import sys
import textwrap
import traceback
import types
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from trigger_sdk.errors import CodecError
from trigger_sdk.tasks import registry
from trigger_sdk.testing import Result

from tests.unit.sdk.in_process import run

Load = Callable[[str], ModuleType]

BODY = """
    @task("t")
    def t(kind: str = "a"):
        '''Does it.'''
        first = 1
        import math as m
        def half(x):
            return x / 2
        if kind == "a":
            second = first + 1
            checkpoint("one", second=second)
            third = 3
        elif kind == "b":
            third = 4
        else:
            third = 5
        with Resource() as r:
            fourth = third
            checkpoint("two", third=third)
            fifth = half(third)
        match [third]:
            case []:
                sixth = 0
            case [4]:
                sixth = 1
            case [_]:
                sixth = 2
                checkpoint("three", sixth=sixth)
                sixth += 1
        try:
            seventh = 7
            checkpoint("four", seventh=seventh)
            raise KeyError
        except KeyError:
            eighth = 8
        finally:
            ninth = 9
        for i in range(2):
            tenth = i
        return m.floor(seventh)
"""
RESOURCE = """
    class Resource:
        def __enter__(self): return self
        def __exit__(self, *error): pass
"""


def lines_of(function: types.FunctionType, call: Callable[[], Any]) -> list[int]:
    """The line events of a function in a call, counted from the line of `def`'s decorator."""
    name, file = function.__code__.co_name, function.__code__.co_filename
    seen: list[int] = []

    def trace(frame: types.FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_name != name or frame.f_code.co_filename != file:
            return None
        if event == "line":
            seen.append(frame.f_lineno - function.__code__.co_firstlineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return seen


def plain_function(source: str) -> types.FunctionType:
    """The function as Python itself compiles it."""
    scope: dict[str, Any] = {"task": lambda _: lambda function: function, "checkpoint": lambda *_, **__: None}
    exec(compile(textwrap.dedent(RESOURCE) + textwrap.dedent(source), "<plain>", "exec"), scope)
    function: types.FunctionType = scope["t"]
    return function


@pytest.mark.parametrize("kind", ["a", "b", "c"])
def test_line_events_of_a_run_are_those_of_the_plain_function(load: Load, kind: str) -> None:
    plain, compiled = plain_function(BODY), load(RESOURCE + BODY).t

    expected = lines_of(plain, lambda: plain(kind))

    assert lines_of(compiled, lambda: compiled(kind)) == expected
    assert lines_of(compiled, lambda: run(compiled, {"kind": kind})) == expected


def test_lines_skipped_by_a_resume_are_not_seen(load: Load) -> None:
    compiled = load(RESOURCE + BODY).t
    whole = lines_of(compiled, lambda: run(compiled))
    number = {point.key: point.line - compiled.__code__.co_firstlineno for point in registry["t"].points}
    for key in number:
        crashed = stored_until(compiled, key)

        behind = lines_of(compiled, lambda crashed=crashed: run(compiled, resume=crashed))

        rest = whole[whole.index(number[key]) + 1 :]
        again = behind[: len(behind) - len(rest)]
        assert behind[len(again) :] == rest
        # The import and the nested function run again, and the enclosing `with` and `try` are entered.
        assert again == [4, 5, *{"two": [15], "four": [28]}.get(key, [])]


def stored_until(function: Callable[..., Any], key: str) -> Result:
    whole = run(function)
    keys = [stored.key for stored in whole.stored]
    return Result(None, 1, None, whole.stored[: keys.index(key) + 1], [])


def test_line_events_of_an_async_task_are_those_of_the_plain_function(load: Load) -> None:
    body = """
        @task("t")
        async def t():
            first = 1
            await checkpoint("one", first=first)
            async with Resource() as r:
                await checkpoint("two")
            return first
    """
    resource = """
        class Resource:
            async def __aenter__(self): return self
            async def __aexit__(self, *error): pass
    """
    compiled = load(resource + body).t

    crashed = stored_until(compiled, "one")
    whole = lines_of(compiled, lambda: run(compiled))
    behind = lines_of(compiled, lambda: run(compiled, resume=crashed))

    assert [line for line, _ in itertools.groupby(whole)] == [2, 3, 4, 5, 4, 6]
    assert [line for line, _ in itertools.groupby(behind)] == [4, 5, 4, 6]


def test_coverage_counts_what_ran_and_not_what_was_skipped(load: Load) -> None:
    coverage = pytest.importorskip("coverage", reason="coverage is not installed")
    compiled = load(RESOURCE + BODY).t
    crashed = stored_until(compiled, "three")
    file = compiled.__code__.co_filename

    traced = lines_of(compiled, lambda: run(compiled, resume=crashed))

    measured = coverage.Coverage(data_file=None, include=[file])
    with measured.collect():
        run(compiled, resume=crashed)

    _, statements, _, missing, _ = measured.analysis2(file)
    first = compiled.__code__.co_firstlineno
    ran = {line - first for line in set(statements) - set(missing) if line > first + 1}
    assert ran == set(traced)


def test_traceback_of_a_failed_save_names_the_checkpoint(load: Load) -> None:
    compiled = load("""
        @task("t")
        def t():
            value = object()
            text = "x"
            checkpoint(
                "one",
                value=value,
            )
    """).t

    with pytest.raises(CodecError) as failure:
        run(compiled)

    frames = [f for f in traceback.extract_tb(failure.value.__traceback__) if f.name == "t"]
    assert [frame.lineno for frame in frames] == [compiled.__code__.co_firstlineno + 4]


def test_every_instruction_of_the_users_has_its_line(load: Load) -> None:
    plain, compiled = plain_function(BODY), load(RESOURCE + BODY).t
    offset = compiled.__code__.co_firstlineno - plain.__code__.co_firstlineno

    assert {line for *_, line in compiled.__code__.co_lines() if line} == {
        line + offset for *_, line in plain.__code__.co_lines() if line
    }
