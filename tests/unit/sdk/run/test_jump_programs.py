"""Random programs: those that the check accepts end like plain Python and have the same effects, crashed or not."""

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry

from tests.unit.sdk.in_process import run
from tests.unit.sdk.sources import effects, load_module

NAMES = ("a", "b", "c", "p")
HEADER = """
from tests.unit.sdk.sources import effect
class Open:
    def __init__(self, value): self.value = value
    def __enter__(self): return [len(type(self.value).__name__)]
    def __exit__(self, kind, error, trace): return kind is LookupError
"""

Block = list[str]


def indented(block: Block) -> Block:
    return ["    " + line for line in block]


class Programs:
    """Writes programs over the lists a, b, c and the parameter p, which read, bind, change and save them at random."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def source(self, *, is_async: bool) -> str:
        numbers = itertools.count()
        body = ["a, b, c = [1], [2, 2], [3]", *self._block(3), *self._block(2), "return [a, b, c, p]"]
        lines = [line.replace("KEY", f"k{next(numbers)}") if "KEY" in line else line for line in body]
        if is_async:
            lines = [line.replace("checkpoint(", "await checkpoint(") for line in lines]
        head = ["@task('t')", f"{'async ' if is_async else ''}def t(p: list):"]
        return HEADER + "\n".join([*head, *indented(lines)]) + "\n"

    def _name(self) -> str:
        return self._random.choice(NAMES)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _block(self, depth: int) -> Block:
        return list(itertools.chain(*(self._statement(depth) for _ in range(self._random.randint(1, 4)))))

    def _statement(self, depth: int) -> Block:
        if depth == 0 or self._chance(0.55):
            return self._simple()
        kind = self._random.choice([self._if, self._match, self._with, self._try, self._loop])
        return kind(depth - 1)

    def _simple(self) -> Block:
        one, other = self._name(), self._name()
        return self._random.choice(
            [
                [f"{one} = effect([{NAMES.index(one)}])"],
                [f"{one} = {other} + [len({other})]"],
                [f"{one}.append(len({one}))"],
                [f"effect({one})"],
                [f"for i in range(2): {one} = {one} + [i]"],
                [f"def f(): return len({one})", "effect(f())"],
                [f"def f(x=len({one})):", f"    nonlocal {other}", f"    {other} = {other} + [x]", "f()"],
                ["import math as mod"],
                [f"if {one}: import math as mod"],
                ["effect(mod.floor(2.5))"],
                [f"if (t := len({one})) > 2: {other} = [t]"],
                [f"{one} = [q for q in {other}]"],
                ["if len(a) > 4: return effect([a, b, c, p])"],
                self._checkpoint(NAMES),
                self._checkpoint(NAMES),
                self._checkpoint([name for name in NAMES if self._chance(0.5)]),
            ]
        )

    @staticmethod
    def _checkpoint(saved: tuple[str, ...] | list[str]) -> Block:
        arguments = ["'KEY'", *(f"{name}={name}" for name in saved)]
        return [f"checkpoint({', '.join(arguments)})"]

    def _if(self, depth: int) -> Block:
        test = f"if effect(len({self._name()})) % 2:"
        return [test, *indented(self._block(depth)), "else:", *indented(self._block(depth))]

    def _match(self, depth: int) -> Block:
        first, second = indented(indented(self._block(depth))), indented(indented(self._block(depth)))
        return [f"match {self._name()}:", "    case [_, *c] if effect(c):", *first, "    case _:", *second]

    def _with(self, depth: int) -> Block:
        target = self._random.choice(["w", "w", self._name()])
        return [f"with Open({self._name()}) as {target}:", *indented(self._block(depth))]

    def _try(self, depth: int) -> Block:
        body = [*self._block(depth), *(["raise KeyError"] if self._chance(0.3) else [])]
        handler, orelse = self._simple(), self._block(depth)
        lines = ["try:", *indented(body), "except KeyError:", *indented(handler), "else:", *indented(orelse)]
        return [*lines, "finally:", *indented(self._simple())] if self._chance(0.2) else lines

    def _loop(self, depth: int) -> Block:
        leave = self._random.choice(["break", "continue", "pass"])
        return ["for j in range(2):", *indented(self._simple()), f"    if j == {self._random.randrange(2)}: {leave}"]


class Outcome:
    """What can be seen of a run: its effects, its end, and the keys that it saved."""

    def __init__(self, call: Callable[[], tuple[Any, list[str]]]) -> None:
        effects.clear()
        self.keys: list[str] = []
        try:
            self.end, self.keys = call()
        except Exception as error:  # a program may fail, and then fails in the same way
            result = getattr(error, "trigger_result", None)
            self.keys = [stored.key for stored in result.stored] if result else []
            self.end = type(error)
        self.effects = [repr(value) for value in effects]


def outcome(module: ModuleType, crash_after: str | None = None) -> Outcome:
    def call() -> tuple[Any, list[str]]:
        result = run(module.t, {"p": [0]}, crash_after=crash_after)
        return result.output, [stored.key for stored in result.stored]

    return Outcome(call)


def plain_outcome(source: str) -> Outcome:
    """The program without this package: its checkpoints do nothing."""

    async def nothing(*_: Any, **__: Any) -> None: ...

    scope: dict[str, Any] = {"task": lambda _: lambda function: function}
    scope["checkpoint"] = nothing if "async def" in source else (lambda *_, **__: None)
    exec(source, scope)

    def call() -> tuple[Any, list[str]]:
        output = scope["t"]([0])
        return (asyncio.run(output) if "async def" in source else output), []

    return Outcome(call)


def check_program(folder: Path, source: str) -> int:
    """Compares one program with itself crashed after each of its checkpoints; returns the number of crashes."""
    registry.pop("t", None)
    try:
        module = load_module(folder, source)
    except (RegistrationError, SyntaxError):
        return 0
    whole, plain = outcome(module), plain_outcome(source)
    # A value that cannot be stored ends a run, but not plain Python.
    if not isinstance(whole.end, type):
        assert (whole.end, whole.effects) == (plain.end, plain.effects), source
    for key in whole.keys:
        crashed = outcome(module, key)

        assert (crashed.end, crashed.keys) == (whole.end, whole.keys), (key, source)
        # A simulated crash runs `finally` blocks, which a real one does not.
        if "finally:" not in source:
            assert crashed.effects == whole.effects, (key, source)
    return len(whole.keys)


@pytest.mark.parametrize("seed", range(5))
def test_crash_after_any_checkpoint_changes_nothing(tmp_path: Path, seed: int) -> None:
    programs = Programs(seed)

    crashes = sum(check_program(tmp_path, programs.source(is_async=number % 5 == 0)) for number in range(60))

    assert crashes >= 4
