"""Resuming inside branches, `with`, `try` and `match`, and where a checkpoint is out of place."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from trigger_sdk import checkpoint, task
from trigger_sdk.errors import CheckpointMisplaced

from tests.unit.sdk.in_process import run
from tests.unit.sdk.sources import effect, effects

BRANCHES = """
    from tests.unit.sdk.sources import effect

    class Resource:
        def __init__(self, name): self.name = name
        def __enter__(self): return self
        def __exit__(self, *error): pass

    @task("branches")
    def branches(kind: str, n: int = 3):
        "Says which way it went."
        import math
        def half(x): return x / 2
        if effect(kind == "a"):
            a = effect("a1")
            checkpoint("in-if", a=a)
            effect(a + "2")
        elif effect(kind == "b"):
            with Resource("r") as r:
                effect("b1")
                checkpoint("in-with")
                effect(r.name)
            effect("b3")
        else:
            try:
                effect("c1")
                checkpoint("in-try")
                effect("c2")
            except ValueError:
                effect("never")
            else:
                effect("c3")
                checkpoint("in-else")
                effect("c4")
        match effect(n):
            case 1:
                checkpoint("one")
                effect("one")
            case int(found) if effect("guard"):
                checkpoint("two", found=found)
                effect(found)
            case _:
                effect("other")
        effect("end")
        return [kind, math.floor(half(n))]
"""


@pytest.mark.parametrize(
    ("payload", "keys"),
    [
        ({"kind": "a"}, ["in-if", "two"]),
        ({"kind": "b"}, ["in-with", "two"]),
        ({"kind": "c", "n": 1}, ["in-try", "in-else", "one"]),
    ],
)
def test_branches_are_entered_as_they_were(
    load: Callable[[str], ModuleType], payload: dict[str, Any], keys: list[str]
) -> None:
    branches = load(BRANCHES).branches
    whole = run(branches, payload)
    expected = list(effects)
    assert [stored.key for stored in whole.stored] == keys

    for key in keys:
        effects.clear()
        result = run(branches, payload, crash_after=key)

        assert effects == expected
        assert result.output == whole.output
    assert branches.__doc__ == "Says which way it went."


def test_exception_after_a_resume_reaches_the_handler_around_it() -> None:
    @task("handled")
    def handled() -> list[str]:
        steps = ["start"]
        try:
            checkpoint("inside", steps=steps)
            effect("work")
            raise ValueError("bad")
        except ValueError as error:
            steps.append(str(error))
        finally:
            steps.append("finally")
        return steps

    assert run(handled, crash_after="inside").output == ["start", "bad", "finally"]
    assert effects == ["work"]


def test_nested_function_and_import_before_the_checkpoint_are_there_again() -> None:
    @task("helpers")
    def helpers(base: int) -> int:
        import math

        factor = math.gcd(12, 8)

        def scaled(value: int) -> int:
            return value * factor + base

        checkpoint("k", factor=factor)
        return scaled(math.floor(2.5))

    assert run(helpers, {"base": 1}, crash_after="k").output == 9


def test_what_a_try_body_defines_runs_again_for_its_own_checkpoints_only() -> None:
    """In the `else` the body is finished."""

    @task("defining")
    def defining(number: int) -> int:
        try:
            effect("work")

            def later(value: int = effect(number)) -> int:
                return value

            checkpoint("inside")
            number = later()
        except ValueError:
            number = 0
        else:
            checkpoint("else", number=number)
        return number

    assert run(defining, {"number": 3}, crash_after="inside").output == 3
    assert effects == ["work", 3, 3]
    effects.clear()
    assert run(defining, {"number": 3}, crash_after="else").output == 3
    assert effects == ["work", 3]


def test_recursive_call_of_the_task_cannot_save() -> None:
    @task("recursive")
    def recursive(depth: int) -> int:
        checkpoint("k", depth=depth)
        return depth if depth == 0 else recursive(depth - 1)

    with pytest.raises(CheckpointMisplaced, match=r"'k' of .*recursive was reached outside the body"):
        run(recursive, {"depth": 1})


def helper_that_saves() -> None:
    checkpoint("lost")  # type: ignore[unused-coroutine]


def test_checkpoint_in_a_helper_is_misplaced_in_a_run_and_outside() -> None:
    @task("helped")
    def helped() -> None:
        helper_that_saves()

    for call in (helper_that_saves, helped, lambda: run(helped)):
        with pytest.raises(CheckpointMisplaced, match="'lost'"):
            call()
