"""What an attempt knows about its steps: nested steps whose outer step is retried, and processes that it forks."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from trigger_sdk import CheckpointMisplaced, DuplicateStep, Retry, registry, step, task

from tests.unit.sdk.in_process import run

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    known = dict(registry)
    calls.clear()
    yield
    registry.clear()
    registry.update(known)


def fetch(number: int) -> int:
    calls.append(number)
    return number


async def fetch_later(number: int) -> int:
    return fetch(number)


def fails_once(then: Callable[[], None]) -> None:
    calls.append("outer")
    if calls.count("outer") == 1:
        then()


def refuse() -> None:
    raise ConnectionError("once")


@pytest.mark.parametrize("then", [refuse, lambda: time.sleep(60)], ids=["failed", "timed-out"])
def test_next_try_of_a_step_gets_the_steps_that_finished_inside_it(then: Callable[[], None]) -> None:
    def middle() -> int:
        return step("inner", fetch, 1) + step("other", fetch, 2)

    def outer() -> int:
        found = step("middle", middle)
        fails_once(then)
        return found + step("last", fetch, 3)

    @task(id="nested")
    def nested() -> int:
        return step("outer", outer, timeout=0.2, retry=Retry(max_attempts=2))

    result = run(nested)

    assert (result.output, calls) == (6, [1, 2, "outer", "outer", 3])
    assert list(result.steps) == ["inner", "other", "middle", "last", "outer"]


def test_next_try_of_an_async_step_gets_them_too() -> None:
    async def outer() -> int:
        found = await asyncio.gather(step("a", fetch_later, 1), step("b", fetch_later, 2))
        fails_once(refuse)
        return sum(found)

    @task(id="nested")
    async def nested() -> Any:
        return await step("outer", outer, retry=Retry(max_attempts=2))

    assert run(nested).output == 3
    assert calls.count("outer") == 2
    assert sorted(call for call in calls if call != "outer") == [1, 2]


def test_step_that_the_task_itself_calls_again_gets_them_too() -> None:
    def outer() -> int:
        found = step("inner", fetch, 1)
        fails_once(refuse)
        return found

    @task(id="nested")
    def nested() -> int:
        while True:
            try:
                return step("outer", outer)
            except ConnectionError:
                continue

    assert (run(nested).output, calls) == (1, [1, "outer", "outer"])


def test_steps_of_a_step_that_failed_keep_their_keys_from_others() -> None:
    def outer() -> None:
        step("inner", fetch, 1)
        refuse()

    @task(id="nested")
    def nested() -> int:
        try:
            return step("outer", outer) or 0
        except ConnectionError:
            return step("inner", fetch, 2)

    with pytest.raises(DuplicateStep):
        run(nested)


def test_step_in_a_process_that_the_task_forks_is_refused_before_its_function_runs() -> None:
    def in_fork(results: Any) -> None:
        try:
            step("inside", fetch, 2)
        except CheckpointMisplaced as error:
            results.put((str(error), calls))

    @task(id="forks")
    def forks() -> list[Any]:
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()
        process = context.Process(target=in_fork, args=(results,))
        process.start()
        process.join(30)
        return [process.exitcode, None if results.empty() else results.get()]

    step_calls = run(forks).output

    assert step_calls == [0, ("step 'inside' was reached in a process that the task forked", [])]
