"""`step`: once per run and key, in every place; run by `testing.run`, without a server."""

import asyncio
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from trigger_sdk import (
    CodecError,
    DuplicateStep,
    StepError,
    checkpoint,
    step,
    task,
)
from trigger_sdk.testing import Result, SimulatedCrash

from tests.unit.sdk.in_process import run
from tests.unit.sdk.step_world import Page, calls, failing, fetch, fetch_later, interrupted


def test_step_runs_once_per_run_and_returns_what_is_stored() -> None:
    @task(id="pages")
    def pages() -> list[Any]:
        return [step(f"page-{number}", fetch, number) for number in range(4)]

    failing.add(2)

    result = interrupted(pages)

    assert result.output == [{"page": number} for number in range(4)]
    assert calls == [0, 1, 2, 2, 3]
    assert list(result.steps) == ["page-0", "page-1", "page-2", "page-3"]
    assert (result.attempts, result.resumed_from) == (2, None)


def test_a_new_run_runs_its_steps_again() -> None:
    @task(id="pages")
    def pages() -> Any:
        return step("page", fetch, 1)

    run(pages)
    run(pages)

    assert calls == [1, 1]


def test_steps_before_the_resume_point_are_not_asked_again_and_later_ones_are_restored() -> None:
    @task(id="pages")
    def pages() -> list[Any]:
        first = [step(f"first-{number}", fetch, number) for number in (1, 2)]
        checkpoint("half", first=first)
        return first + [step(f"second-{number}", fetch, number) for number in (3, 4)]

    failing.add(4)

    result = interrupted(pages)

    assert result.resumed_from == "half"
    assert calls == [1, 2, 3, 4, 4]
    assert [entry["page"] for entry in result.output] == [1, 2, 3, 4]


def test_crash_after_a_step_keeps_its_result() -> None:
    @task(id="pages")
    def pages() -> list[Any]:
        return [step(f"page-{number}", fetch, number) for number in range(3)]

    result = run(pages, crash_after="page-1")

    assert calls == [0, 1, 2]
    assert result.attempts == 2


def test_crash_after_a_key_that_never_comes_is_an_error() -> None:
    @task(id="pages")
    def pages() -> Any:
        return step("page", fetch, 1)

    with pytest.raises(LookupError, match=r"ended without saving 'page-9'; it saved \['page'\]"):
        run(pages, crash_after="page-9")


def test_nested_steps_are_stored_each_and_the_outer_one_hides_the_inner_ones() -> None:
    def outer() -> int:
        calls.append("outer")
        return sum(step(f"inner-{number}", fetch, number)["page"] for number in (1, 2))

    @task(id="nested")
    def nested() -> int:
        total = step("outer", outer)
        step("last", fetch, 9)
        return total

    failing.add(2)
    with pytest.raises(ConnectionError) as first:
        run(nested)
    failing.clear()
    failing.add(9)
    with pytest.raises(ConnectionError) as second:
        run(nested, resume=first.value)
    failing.clear()
    result = run(nested, resume=second.value)

    assert result.output == 3
    assert calls == ["outer", 1, 2, "outer", 2, 9, 9]


def test_steps_gathered_by_asyncio_are_kept_one_by_one() -> None:
    @task(id="gathered")
    async def gathered() -> list[Any]:
        others = [asyncio.create_task(step(f"page-{number}", fetch_later, number)) for number in range(20)]  # type: ignore[arg-type]

        async def last() -> dict[str, int]:
            await asyncio.wait(others)
            return fetch(20)

        return await asyncio.gather(*others, step("page-20", last))

    failing.add(20)

    result = interrupted(gathered)

    assert [entry["page"] for entry in result.output] == list(range(21))
    assert sorted(calls) == [*range(20), 20, 20]


def test_async_step_between_async_checkpoints() -> None:
    @task(id="mixed")
    async def mixed() -> Any:
        first = await step("first", fetch_later, 1)
        await checkpoint("middle", first=first)
        second = await step("second", fetch_later, 2)
        third = step("third", fetch, 3)
        return [first, second, third]

    failing.add(3)

    assert interrupted(mixed).output == [{"page": 1}, {"page": 2}, {"page": 3}]
    assert calls == [1, 2, 3, 3]


def test_steps_of_several_threads() -> None:
    @task(id="threads")
    def threads() -> list[Any]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: step(f"page-{number}", fetch, number), range(12)))

    failing.add(5)

    assert [entry["page"] for entry in interrupted(threads).output] == list(range(12))
    assert sorted(calls) == sorted([*range(12), 5])


def test_the_value_is_what_a_later_attempt_sees_already_the_first_time() -> None:
    original = {"pair": (1, 2), "items": [1]}

    @task(id="decoded")
    def decoded() -> bool:
        value = step("value", lambda: original)
        return value == original and value is not original and value["items"] is not original["items"]

    assert run(decoded).output is True


def test_result_takes_the_shape_of_the_functions_annotation() -> None:
    def load(number: int) -> Page:
        calls.append(number)
        return Page(number, [number] * 2)

    @task(id="shapes")
    def shapes() -> Any:
        page = step("page", load, 7)
        step("next", fetch, 1)
        return [type(page).__name__, page.rows]

    failing.add(1)

    assert interrupted(shapes).output == ["Page", [7, 7]]
    assert calls == [7, 1, 1]


def test_functions_of_steps_are_let_go() -> None:
    held: list[Any] = []

    @task(id="closures")
    def closures() -> int:
        for number in range(50):
            page = Page(number, [number])

            def load(data: Page = page) -> Page:
                return data

            held.append(weakref.ref(load))
            step(f"page-{number}", load)
        del load
        return len(held)

    run(closures)
    gc.collect()

    assert [ref for ref in held if ref() is not None] == []


def test_result_that_cannot_be_stored_names_the_step_and_the_path() -> None:
    @task(id="unstorable")
    def unstorable() -> Any:
        return step("open", lambda: {"a": [object()]})

    with pytest.raises(CodecError, match=r"\$\.a\[0\]: the result of the step 'open': an object cannot be stored"):
        run(unstorable)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "1 to 200 characters, not 0"),
        ("k" * 201, "1 to 200 characters, not 201"),
        ("a\0b", "NUL"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_wrong_keys_are_refused(key: str, message: str) -> None:
    @task(id="keys")
    def keys() -> Any:
        return step(key, fetch, 1)

    with pytest.raises(StepError, match=message):
        run(keys)
    assert calls == []


def test_a_key_of_this_attempt_cannot_be_used_again() -> None:
    @task(id="twice")
    def twice() -> Any:
        key = "page"
        return [step(key, fetch, number) for number in (1, 2)]

    with pytest.raises(DuplicateStep, match=r"'page' is already used in this attempt by another step: give each"):
        run(twice)
    assert calls == [1]


def test_a_checkpoints_key_cannot_be_a_steps_key() -> None:
    @task(id="shared")
    def shared() -> Any:
        one = 1
        checkpoint("half", one=one)
        key = "half"
        return step(key, fetch, one)

    with pytest.raises(DuplicateStep, match="by a checkpoint"):
        run(shared)


def test_a_failed_step_may_be_tried_again_under_its_key() -> None:
    @task(id="again")
    def again() -> Any:
        key = "page"
        try:
            return step(key, fetch, 1)
        except ConnectionError:
            failing.clear()
            return step(key, fetch, 1)

    failing.add(1)

    assert run(again).output == {"page": 1}
    assert calls == [1, 1]


@pytest.mark.parametrize("arguments", [("page", 1), (1, fetch), (None, fetch, 1), ("page", None, 1)])
def test_wrong_uses_say_what_is_needed(arguments: Any) -> None:
    with pytest.raises(StepError, match="needs a key and a function"):
        step(*arguments)


def test_coroutine_of_a_plain_function_is_refused_at_once() -> None:
    @task(id="lambda")
    async def with_lambda() -> Any:
        return step("page", lambda: fetch_later(1))

    with pytest.raises(StepError, match="returned an awaitable but is not an `async def` function"):
        run(with_lambda)


def test_outside_a_run_the_function_is_called_and_its_value_goes_through_the_codec() -> None:
    assert step("page", fetch, 1) == {"page": 1}
    assert asyncio.run(step("page", fetch_later, 2)) == {"page": 2}  # type: ignore[arg-type]
    with pytest.raises(CodecError):
        step("page", object)
    assert calls == [1, 2]


def test_results_of_an_unknown_codec_are_refused() -> None:
    @task(id="pages")
    def pages() -> Any:
        return step("page", fetch, 1)

    first = run(pages)
    newer = Result(None, 1, None, [type(entry)(**{**entry.__dict__, "codec": 2}) for entry in first.stored])

    with pytest.raises(Exception, match="'page' was stored by version 2 of the codec; this SDK reads 1"):
        run(pages, resume=newer)


def test_a_caught_crash_saves_nothing_more() -> None:
    @task(id="caught")
    def caught() -> Any:
        try:
            return step("first", fetch, 1)
        except SimulatedCrash:
            return step("second", fetch, 2)

    result = run(caught, crash_after="first")

    assert list(result.steps) == ["first"]
