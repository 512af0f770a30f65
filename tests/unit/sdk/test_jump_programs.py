"""Random programs: whatever the check accepts gives the same output and the same effects, crashed or not."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.sdk.sources import load_module
from trigger_sdk.errors import RegistrationError
from trigger_sdk.tasks import registry
from trigger_sdk.testing import run

NAMES = ("a", "b", "c", "p")
HEADER = """
effects = []
def effect(value):
    effects.append(repr(value))
    return value
class Open:
    def __init__(self, value): self.value = value
    def __enter__(self): return list(self.value)
    def __exit__(self, kind, error, trace): return kind is LookupError
"""

names = st.sampled_from(NAMES)
Block = list[str]


def indented(block: Block) -> Block:
    return ["    " + line for line in block]


def saving(saved: set[str]) -> Block:
    # The number is put in later: keys are unique.
    return [f"checkpoint('KEY', {', '.join(f'{name}={name}' for name in sorted(saved))})".replace(", )", ")")]


def with_block(name: str, target: str, body: Block) -> Block:
    return [f"with Open({name}) as {target}:", *indented(body)]


def try_block(body: Block, handler: Block, orelse: Block, final: Block, is_failing: bool) -> Block:
    body = [*body, "raise KeyError"] if is_failing else body
    lines = ["try:", *indented(body), "except KeyError:", *indented(handler), "else:", *indented(orelse)]
    return [*lines, "finally:", *indented(final)] if final else lines


def match_block(name: str, bodies: tuple[Block, Block]) -> Block:
    first, second = (indented(indented(body)) for body in bodies)
    return [f"match {name}:", "    case [_, *c] if effect(c):", *first, "    case _:", *second]


def if_block(name: str, bodies: tuple[Block, Block]) -> Block:
    return [f"if effect(len({name})) % 2:", *indented(bodies[0]), "else:", *indented(bodies[1])]


simple = st.one_of(
    names.map(lambda name: [f"{name} = effect([{NAMES.index(name)}])"]),
    st.tuples(names, names).map(lambda pair: [f"{pair[0]} = {pair[1]} + [len({pair[1]})]"]),
    names.map(lambda name: [f"{name}.append(len({name}))"]),
    names.map(lambda name: [f"effect({name})"]),
    names.map(lambda name: [f"for i in range(2): {name} = {name} + [i]"]),
    names.map(lambda name: [f"def f(): return len({name})", "effect(f())"]),
    st.just(["return effect([a, b, c, p])"]),
    st.sets(names, max_size=4).map(saving),
    st.just(saving({"a", "b", "c"})),
    st.just(saving({"a", "b", "c", "p"})),
)


def blocks(statements: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    return st.lists(statements, min_size=1, max_size=5).map(lambda many: list(itertools.chain(*many)))


def nested(statements: st.SearchStrategy[Block]) -> st.SearchStrategy[Block]:
    body = blocks(statements)
    return st.one_of(
        st.builds(if_block, names, st.tuples(body, body)),
        st.builds(match_block, names, st.tuples(body, body)),
        st.builds(with_block, names, st.sampled_from(("w", *NAMES)), body),
        st.builds(try_block, body, body, body, st.one_of(st.just([]), body), st.booleans()),
    )


programs = blocks(st.recursive(simple, nested, max_leaves=12))


def write(program: Block, *, is_async: bool) -> str:
    numbers = itertools.count()
    lines = ["a, b, c = [1], [2, 2], [3]", *program, "return [a, b, c, p]"]
    lines = [line.replace("KEY", f"k{next(numbers)}") if "KEY" in line else line for line in lines]
    if is_async:
        lines = [line.replace("checkpoint(", "await checkpoint(") for line in lines]
    head = ["@task('t')", f"{'async ' if is_async else ''}def t(p: list):"]
    return HEADER + "\n".join([*head, *indented(lines)]) + "\n"


class Outcome:
    """What can be seen of a run: its effects, its end, and what it stored."""

    def __init__(self, module: Any, call: Callable[[], Any]) -> None:
        module.effects.clear()
        self.keys: list[str] = []
        self.end: Any = None
        try:
            result = call()
            self.keys = [stored.key for stored in result.stored]
            self.end = result.output
        except Exception as error:  # a program may fail, and then fails in the same way
            self.keys = [stored.key for stored in error.trigger_result.stored]  # type: ignore[attr-defined]
            self.end = type(error)
        self.effects = list(module.effects)


# The effects of `finally` blocks run once more in a simulated crash; programs with them are compared by output alone.
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(program=programs, is_async=st.booleans())
@example(program=["with Open(c) as c:", "    " + saving({"a", "b"})[0]], is_async=False)
@example(program=["b.append(1)", *saving({"a", "b"}), "b.append(2)", *saving(set()), "effect(b)"], is_async=False)
def test_crash_behind_any_checkpoint_changes_nothing(tmp_path_factory: Any, program: Block, is_async: bool) -> None:
    registry.pop("t", None)
    folder: Path = tmp_path_factory.mktemp("program")
    source = write(program, is_async=is_async)
    try:
        module = load_module(folder, source)
    except RegistrationError:
        return
    whole = Outcome(module, lambda: run(module.t, {"p": [0]}))

    for key in whole.keys:
        crashed = Outcome(module, lambda key=key: run(module.t, {"p": [0]}, crash_after=key))  # type: ignore[misc]

        assert crashed.end == whole.end, (key, source)
        assert crashed.keys == whole.keys, (key, source)
        if "finally:" not in source:
            assert crashed.effects == whole.effects, (key, source)
