"""What the tasks in the tests of steps do: fetch pages, record each fetch, and fail when told to."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.sdk.in_process import run

calls: list[Any] = []
"""What ran, in order; emptied before each test (conftest)."""
failing: set[Any] = set()


@dataclass
class Page:
    number: int
    rows: list[int]


def fetch(number: int) -> dict[str, int]:
    calls.append(number)
    if number in failing:
        raise ConnectionError(f"page {number}")
    return {"page": number}


async def fetch_later(number: int, delay: float = 0) -> dict[str, int]:
    await asyncio.sleep(delay)
    return fetch(number)


def interrupted(function: Any, payload: Any = None) -> Any:
    """The next attempt after a failed one."""
    with pytest.raises(ConnectionError) as failure:
        run(function, payload)
    failing.clear()
    return run(function, payload, resume=failure.value)
