"""`step`: once per run and key, in every form, with retries and time limits; run by `testing.run`, without a server."""

import asyncio
import functools
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from trigger_sdk import (
    AbortRun,
    CodecError,
    DuplicateStep,
    Retry,
    RetryAfter,
    StepError,
    StepTimedOut,
    checkpoint,
    registry,
    step,
    task,
)
from trigger_sdk.testing import Result, SimulatedCrash, run

calls: list[Any] = []
failing: set[Any] = set()


@dataclass
class Page:
    number: int
    rows: list[int]


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    known = dict(registry)
    calls.clear()
    failing.clear()
    yield
    registry.clear()
    registry.update(known)


def fetch(number: int) -> dict[str, int]:
    calls.append(number)
    if number in failing:
        raise ConnectionError(f"page {number}")
    return {"page": number}


async def fetch_later(number: int, delay: float = 0) -> dict[str, int]:
    await asyncio.sleep(delay)
    return fetch(number)


def interrupted(function: Any, payload: Any = None) -> Any:
    """The next attempt after one that failed."""
    with pytest.raises(ConnectionError) as failure:
        run(function, payload)
    failing.clear()
    return run(function, payload, resume=failure.value)


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


def test_a_new_run_runs_its_steps_anew() -> None:
    @task(id="pages")
    def pages() -> Any:
        return step("page", fetch, 1)

    run(pages)
    run(pages)

    assert calls == [1, 1]


def test_steps_before_the_resume_point_are_not_asked_again_and_those_behind_it_are_given() -> None:
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


def test_crash_behind_a_step_keeps_its_result() -> None:
    @task(id="pages")
    def pages() -> list[Any]:
        return [step(f"page-{number}", fetch, number) for number in range(3)]

    result = run(pages, crash_after="page-1")

    assert calls == [0, 1, 2]
    assert result.attempts == 2


def test_crash_behind_a_key_that_never_comes_is_an_error() -> None:
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
        jobs = [step(f"page-{number}", fetch_later, number, 0.05 if number == 3 else 0) for number in range(20)]
        return await asyncio.gather(*jobs)

    failing.add(3)

    result = interrupted(gathered)

    assert [entry["page"] for entry in result.output] == list(range(20))
    assert sorted(calls) == sorted([*range(20), 3])


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

    with pytest.raises(CodecError, match=r"\$\.a\[0\]: the result of the step 'open': a object cannot be stored"):
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

    with pytest.raises(DuplicateStep, match=r"'page' is used already in this attempt, by another step: give each"):
        run(twice)
    assert calls == [1]


def test_a_checkpoints_key_is_no_steps_key() -> None:
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


def test_retry_repeats_the_function_within_the_attempt_and_says_so() -> None:
    def flaky() -> str:
        calls.append("try")
        if len(calls) < 3:
            raise ConnectionError("no route")
        return "done"

    @task(id="flaky")
    def flaky_task() -> str:
        return step("flaky", flaky, retry=Retry(max_attempts=3, initial=100))

    result = run(flaky_task)

    assert (result.output, result.attempts, len(calls)) == ("done", 1, 3)
    assert [line.message.split(";")[0] for line in result.logs] == [
        "step 'flaky' failed, try 1 of 3",
        "step 'flaky' failed, try 2 of 3",
    ]
    assert "ConnectionError: no route" in result.logs[0].message


def test_retries_that_are_used_up_raise_the_last_error() -> None:
    @task(id="hopeless")
    async def hopeless() -> Any:
        return await step("page", fetch_later, 1, retry=Retry(max_attempts=2))

    failing.add(1)

    with pytest.raises(ConnectionError, match="page 1"):
        run(hopeless)
    assert calls == [1, 1]


@pytest.mark.parametrize("error", [AbortRun("no"), RetryAfter(7200), StepError("wrong")])
def test_what_another_try_cannot_change_is_not_tried_again(error: Exception) -> None:
    def fail() -> None:
        calls.append("try")
        raise error

    @task(id="stubborn")
    def stubborn() -> Any:
        return step("fail", fail, retry=Retry(max_attempts=5))

    with pytest.raises(type(error)):
        run(stubborn)
    assert calls == ["try"]


def test_retry_after_says_how_long_to_wait() -> None:
    def limited() -> str:
        calls.append("try")
        if len(calls) == 1:
            raise RetryAfter(17)
        return "done"

    @task(id="limited")
    def limited_task() -> Any:
        return step("limited", limited, retry=Retry(max_attempts=2, initial=1))

    assert "again in 17.0 s" in run(limited_task).logs[0].message


def test_timeout_ends_a_blocking_call_of_the_system() -> None:
    @task(id="slow")
    def slow() -> Any:
        return step("sleep", time.sleep, 60, timeout=0.05)

    started = time.monotonic()
    with pytest.raises(StepTimedOut, match=r"the step 'sleep' took longer than 0\.05 s"):
        run(slow)
    assert time.monotonic() - started < 30


def test_timeout_passes_the_functions_own_handlers() -> None:
    def stubborn() -> None:
        while True:
            try:
                time.sleep(60)
            except Exception:
                calls.append("swallowed")

    @task(id="slow")
    def slow() -> Any:
        return step("sleep", stubborn, timeout=timedelta(milliseconds=50))

    with pytest.raises(StepTimedOut):
        run(slow)
    assert calls == []


def test_timeout_of_an_async_step() -> None:
    @task(id="slow")
    async def slow() -> Any:
        return await step("sleep", fetch_later, 1, 60, timeout=0.05)

    with pytest.raises(StepTimedOut):
        run(slow)


def test_a_timed_out_try_is_tried_again() -> None:
    def second_time_lucky() -> str:
        calls.append("try")
        if len(calls) == 1:
            time.sleep(60)
        return "done"

    @task(id="slow")
    def slow() -> Any:
        return step("sleep", second_time_lucky, timeout=0.2, retry=Retry(max_attempts=2))

    assert run(slow).output == "done"


def test_the_outer_limit_ends_the_inner_step_too() -> None:
    def outer() -> Any:
        try:
            return step("inner", time.sleep, 60, timeout=30)
        except StepTimedOut:
            calls.append("inner")
            raise

    @task(id="nested")
    def nested() -> Any:
        return step("outer", outer, timeout=0.05)

    with pytest.raises(StepTimedOut, match="'outer'"):
        run(nested)
    assert calls == []


def test_the_functions_own_timeout_error_is_not_the_steps() -> None:
    def fail() -> None:
        raise TimeoutError("of the database")

    @task(id="own")
    def own() -> Any:
        return step("fail", fail, timeout=30)

    with pytest.raises(TimeoutError, match="of the database") as failure:
        run(own)
    assert not isinstance(failure.value, StepTimedOut)


def test_timeout_of_a_blocking_step_in_a_thread_is_refused() -> None:
    @task(id="thread")
    def thread() -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(step, "page", fetch, 1, timeout=5).result()

    with pytest.raises(StepError, match="runs in a thread, where nothing can end it"):
        run(thread)
    assert calls == []


@pytest.mark.parametrize("timeout", [0, -1, True, "5", float("nan"), 10**9])
def test_wrong_timeouts_are_refused(timeout: Any) -> None:
    with pytest.raises(StepError, match="seconds from above 0 to 604,800 are needed"):
        step("page", fetch, 1, timeout=timeout)


@pytest.mark.parametrize("arguments", [("page", 1), (1, fetch), (None, fetch, 1), ("page", None, 1)])
def test_wrong_uses_say_what_is_needed(arguments: Any) -> None:
    with pytest.raises(StepError, match="a key and a function are needed"):
        step(*arguments)


def test_retry_is_a_retry() -> None:
    with pytest.raises(StepError, match=r"retry=3: a Retry\(…\) is needed"):
        step("page", fetch, 1, retry=3)  # type: ignore[call-overload]


def test_coroutine_of_a_plain_function_is_refused_at_once() -> None:
    @task(id="lambda")
    async def with_lambda() -> Any:
        return step("page", lambda: fetch_later(1))

    with pytest.raises(StepError, match="returned something to await and is no `async def` function"):
        run(with_lambda)


class TestDecorator:
    def test_key_is_made_of_name_and_arguments(self) -> None:
        @step
        def load(number: int, *, kind: str = "rows") -> Any:
            return fetch(number)

        @step
        def total() -> int:
            return len(calls)

        @task(id="decorated")
        def decorated() -> Any:
            return [load(1), load(2, kind="heads"), total()]

        result = run(decorated)

        assert list(result.steps) == ['load(1,"rows")', 'load(2,"heads")', "total"]
        assert load.__name__ == "load"

    def test_key_template_over_the_arguments(self) -> None:
        @step("page-{number}", retry=Retry(max_attempts=2), timeout=5)
        async def load(number: int) -> Any:
            return fetch(number)

        @task(id="decorated")
        async def decorated() -> Any:
            return await asyncio.gather(*(load(number) for number in range(3)))

        assert list(run(decorated).steps) == ["page-0", "page-1", "page-2"]

    def test_template_that_does_not_fit_names_the_arguments(self) -> None:
        @step("page-{nummer}")
        def load(number: int) -> Any:
            return fetch(number)

        @task(id="decorated")
        def decorated() -> Any:
            return load(1)

        with pytest.raises(StepError, match=r"'page-\{nummer\}' does not fit the arguments \(number\)"):
            run(decorated)

    def test_arguments_that_cannot_be_a_key_ask_for_a_template(self) -> None:
        @step
        def load(client: Any) -> Any:
            return 1

        @task(id="decorated")
        def decorated() -> Any:
            return load(threading.Lock())

        with pytest.raises(StepError, match=r'give it a key: @step\("load-\{…\}"\)'):
            run(decorated)

    def test_long_arguments_are_hashed(self) -> None:
        @step
        def load(text: str) -> int:
            return len(text)

        @task(id="decorated")
        def decorated() -> Any:
            return [load("a" * 500), load("b" * 500)]

        keys = list(run(decorated).steps)

        assert len(set(keys)) == 2
        assert all(key.startswith("load(") and len(key) < 100 for key in keys)

    def test_options_alone_keep_the_functions_name(self) -> None:
        @step(retry=Retry(max_attempts=2))
        def load() -> int:
            calls.append("try")
            if len(calls) == 1:
                raise ConnectionError
            return 1

        @task(id="decorated")
        def decorated() -> Any:
            return load()

        assert list(run(decorated).steps) == ["load"]


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


def test_decorated_function_without_a_name_needs_a_key() -> None:
    with pytest.raises(StepError, match="give it a key"):
        step(functools.partial(fetch, 1))
    assert step("page")(functools.partial(fetch, 1))() == {"page": 1}


def test_error_that_cannot_be_shown_is_tried_again_like_any() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def second_time_lucky() -> str:
        calls.append("try")
        if len(calls) == 1:
            raise OddError
        return "done"

    @task(id="odd")
    def odd() -> str:
        return step("odd", second_time_lucky, retry=Retry(max_attempts=2))

    assert run(odd).output == "done"


def test_abort_in_a_group_of_tasks_is_not_tried_again() -> None:
    async def give_up() -> None:
        calls.append("try")
        raise AbortRun("never")

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(give_up())

    @task(id="groups")
    async def groups() -> None:
        await step("group", grouped, retry=Retry(max_attempts=3))

    with pytest.raises(ExceptionGroup):
        run(groups)
    assert calls == ["try"]
