"""`trigger_sdk.testing.run`: what the author of a task relies on in tests."""

import asyncio
from typing import Any

import pytest
from trigger_sdk import RunCanceled, checkpoint, log, step, task
from trigger_sdk.errors import PayloadError
from trigger_sdk.testing import Result, run

seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


@task("two-steps")
def two_steps(name: str, fail: bool = False) -> str:
    log.info("started")
    greeting = f"hello {name}"
    checkpoint("greeted", greeting=greeting)
    log.info("going on")
    if fail:
        raise RuntimeError("asked to fail")
    return greeting


def test_whole_run_has_one_attempt() -> None:
    result = run(two_steps, {"name": "Ada"})

    assert (result.output, result.attempts, result.resumed_from) == ("hello Ada", 1, None)
    assert result.checkpoints == {"greeted": {"greeting": "hello Ada"}}


def test_crash_makes_a_second_attempt_that_logs_only_what_follows() -> None:
    result = run(two_steps, {"name": "Ada"}, crash_after="greeted")

    assert (result.output, result.attempts, result.resumed_from) == ("hello Ada", 2, "greeted")
    assert [(line.attempt, line.message) for line in result.logs] == [(1, "started"), (2, "going on")]


def test_exception_comes_out_with_the_result_so_far() -> None:
    with pytest.raises(RuntimeError, match="asked to fail") as failure:
        run(two_steps, {"name": "Ada", "fail": True})

    earlier = failure.value.trigger_result  # type: ignore[attr-defined]
    assert list(earlier.checkpoints) == ["greeted"]
    later = run(two_steps, {"name": "Ada"}, resume=earlier)
    assert (later.output, later.attempts, later.resumed_from) == ("hello Ada", 2, "greeted")
    assert earlier.attempts == 1


def test_stop_of_the_run_comes_out_as_it_is() -> None:
    @task("canceled")
    def canceled() -> None:
        try:
            raise RunCanceled("by hand")
        except Exception:
            seen.append("swallowed")
        finally:
            seen.append("finally")

    with pytest.raises(RunCanceled, match="by hand"):
        run(canceled, in_process=True)
    assert seen == ["finally"]


def test_task_that_swallows_the_crash_still_crashes() -> None:
    @task("stubborn")
    def stubborn() -> str:
        try:
            checkpoint("one")
        except BaseException:
            seen.append("swallowed")
        return "done"

    result = run(stubborn, crash_after="one", in_process=True)

    assert (result.output, result.attempts) == ("done", 2)
    assert seen == ["swallowed"]


def test_nothing_is_saved_after_a_crash_that_the_task_swallows() -> None:
    @task("saving-on")
    def saving_on() -> None:
        number = 1
        try:
            checkpoint("one", number=number)
        except BaseException:
            number = 2
        checkpoint("two", number=number)

    result = run(saving_on, crash_after="one", in_process=True)

    assert result.checkpoints == {"one": {"number": 1}, "two": {"number": 1}}
    assert [(stored.key, stored.index) for stored in result.stored] == [("one", 0), ("two", 1)]


def test_unknown_or_unreached_crash_point_is_an_error() -> None:
    @task("branching")
    def branching(go: bool) -> None:
        if go:
            checkpoint("inside")

    with pytest.raises(LookupError, match=r"ended without saving 'outside'; it saved \['inside'\]"):
        run(branching, {"go": True}, crash_after="outside")
    with pytest.raises(LookupError, match="ended without saving 'inside'"):
        run(branching, {"go": False}, crash_after="inside")


def test_payload_and_output_pass_through_their_stored_text() -> None:
    @task("through")
    def through(items: list[Any]) -> Any:
        items.append(("a", {1}))
        return items

    given: list[Any] = [1]

    assert run(through, {"items": given}).output == [1, ("a", {1})]
    assert given == [1]
    with pytest.raises(PayloadError, match=r"\$\.items"):
        run(through, {"items": 1})


def test_function_that_is_not_a_task_is_an_error() -> None:
    with pytest.raises(LookupError, match="is not a task"):
        run(test_function_that_is_not_a_task_is_an_error)


def test_resume_takes_a_result_or_its_exception_only() -> None:
    with pytest.raises(TypeError, match="resume takes a Result"):
        run(two_steps, {"name": "a"}, resume=ValueError())
    assert run(two_steps, {"name": "a"}, resume=Result()).attempts == 1


def test_runs_of_one_process_do_not_nest() -> None:
    @task("outer")
    def outer() -> None:
        run(two_steps, {"name": "Ada"})

    with pytest.raises(RuntimeError, match="is already working on run"):
        run(outer)
    assert run(two_steps, {"name": "Ada"}).output == "hello Ada"


def test_run_in_a_thread_serves_async_tests() -> None:
    @task("async-one")
    async def async_one() -> int:
        number = 1
        await checkpoint("k", number=number)
        return number

    async def test() -> Result:
        return await asyncio.to_thread(run, async_one, crash_after="k")

    assert asyncio.run(test()).output == 1


async def doubled(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("in_process", [True, False])
def test_crash_inside_a_group_of_tasks_is_a_crash(*, in_process: bool) -> None:
    @task("grouped")
    async def grouped() -> list[int]:
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(step(f"page-{number}", doubled, number)) for number in range(3)]
        return [one.result() for one in made]

    result = run(grouped, crash_after="page-1", in_process=in_process)

    assert (result.output, result.attempts) == ([0, 2, 4], 2)


@pytest.mark.parametrize("in_process", [True, False])
def test_crash_that_gather_hands_to_the_task_is_a_crash(*, in_process: bool) -> None:
    @task("gathered")
    async def gathered() -> list[Any]:
        return await asyncio.gather(*(step(f"page-{n}", doubled, n) for n in range(3)), return_exceptions=True)

    assert run(gathered, crash_after="page-1", in_process=in_process).output == [0, 2, 4]


def test_one_crash_before_and_after_at_once_is_refused() -> None:
    with pytest.raises(TypeError, match="give crash_after or crash_before, not both"):
        run(two_steps, {"name": "Ada"}, crash_after="greeted", crash_before="greeted")


@pytest.mark.parametrize("in_process", [True, False])
def test_crash_before_a_checkpoint_loses_it(*, in_process: bool) -> None:
    result = run(two_steps, {"name": "Ada"}, crash_before="greeted", in_process=in_process)

    assert (result.output, result.attempts, result.resumed_from) == ("hello Ada", 2, None)
    assert [line.message for line in result.logs] == ["started", "started", "going on"]
