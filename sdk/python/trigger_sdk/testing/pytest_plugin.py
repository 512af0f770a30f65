"""The pytest plugin, found by pytest when the package is installed: `trigger_run` and `crash_everywhere`."""

from collections.abc import Callable
from typing import Any

import pytest

from trigger_sdk import testing
from trigger_sdk.testing import Result


@pytest.fixture
def trigger_run(request: pytest.FixtureRequest) -> Callable[..., Result]:
    """`trigger_sdk.testing.run`; if the test fails, its report shows the log of the run and what it has stored."""

    def run(function: Callable[..., Any], payload: Any = None, **options: Any) -> Result:
        __tracebackhide__ = True
        try:
            result = testing.run(function, payload, **options)
        except BaseException as error:
            _show(request.node, function, getattr(error, "trigger_result", None))
            raise
        _show(request.node, function, result)
        return result

    return run


@pytest.fixture(name="crash_everywhere")
def _crash_everywhere() -> Callable[..., Result]:
    """`trigger_sdk.testing.crash_everywhere`: the same result wherever the run crashes."""
    return testing.crash_everywhere


def _show(test: pytest.Item, function: Callable[..., Any], result: Result | None) -> None:
    if result is None:
        return
    lines = [f"{line.attempt} {line.level}: {line.message} {_fields(line.fields)}".rstrip() for line in result.logs]
    saved = ", ".join(entry.key for entry in result.stored) or "nothing"
    title = f"run of {getattr(function, '__name__', function)}"
    test.add_report_section("call", title, "\n".join([*lines, f"{result.attempts} attempts; stored: {saved}"]))


def _fields(fields: Any) -> str:
    return " ".join(f"{name}={value!r}" for name, value in fields.items())
