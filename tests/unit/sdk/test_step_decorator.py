"""`@step`: the keys that it makes."""

import asyncio
import functools
import threading
from typing import Any

import pytest
from trigger_sdk import (
    Retry,
    StepError,
    step,
    task,
)

from tests.unit.sdk.in_process import run
from tests.unit.sdk.step_world import calls, fetch


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


def test_decorated_function_without_a_name_needs_a_key() -> None:
    with pytest.raises(StepError, match="give it a key"):
        step(functools.partial(fetch, 1))
    assert step("page")(functools.partial(fetch, 1))() == {"page": 1}
