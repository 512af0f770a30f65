"""Retries and time limits of steps."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from trigger_sdk import (
    AbortRun,
    Retry,
    RetryAfter,
    StepError,
    StepTimedOut,
    step,
    task,
)

from tests.unit.sdk.in_process import run
from tests.unit.sdk.step_world import calls, failing, fetch, fetch_later


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
    with pytest.raises(StepError, match="must be more than 0 and at most 604,800 seconds"):
        step("page", fetch, 1, timeout=timeout)


def test_retry_is_a_retry() -> None:
    with pytest.raises(StepError, match=r"retry=3: must be a Retry\(…\)"):
        step("page", fetch, 1, retry=3)  # type: ignore[call-overload]


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
