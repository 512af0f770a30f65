"""`crash_everywhere`: the same result wherever a run crashes, or the place and the first difference."""

from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import checkpoint, current_run, step, task
from trigger_sdk.testing import crash_everywhere
from trigger_sdk.testing.crashes import first_difference

cache: dict[str, int] = {}
opened: dict[str, int] = {}


def page(number: int) -> list[int]:
    return [number, number + 1]


@task("sound")
def sound(count: int) -> Any:
    rows = []
    for number in range(count):
        rows += step(f"page-{number}", page, number)
    checkpoint("fetched", rows=rows)
    total = sum(rows)
    checkpoint("added", total=total)
    return {"rows": rows, "total": total, "none": float(total)}


@task("forgetful")
def forgetful() -> Any:
    cache["rows"] = 3
    checkpoint("fetched")
    return {"rows": [1, cache.get("rows")]}


@task("careless")
def careless() -> int:
    opened["rows"] = 3
    checkpoint("fetched")
    return opened["rows"]


@task("recorded")
def recorded(path: str) -> int:
    with open(path, "a") as file:
        file.write("x")
    checkpoint("one")
    return 1


@task("silent")
def silent() -> int:
    return 1


@pytest.mark.parametrize("in_process", [True, False])
def test_sound_task_passes_and_gives_its_result(*, in_process: bool) -> None:
    result = crash_everywhere(sound, {"count": 2}, in_process=in_process)

    assert result.output == {"rows": [0, 1, 1, 2], "total": 4, "none": 4.0}
    assert result.attempts == 1


def test_value_kept_in_a_global_is_found_with_place_and_path() -> None:
    with pytest.raises(AssertionError) as failure:
        crash_everywhere(forgetful)

    assert str(failure.value) == (
        "forgetful, crashed after 'fetched', resumed from 'fetched' and returned something else: "
        "$.rows[1] is None instead of 3"
    )
    assert crash_everywhere(forgetful, in_process=True).output == {"rows": [1, 3]}


def test_task_that_fails_after_a_crash_is_named_with_its_error() -> None:
    with pytest.raises(AssertionError, match="careless, crashed after 'fetched', raises KeyError: 'rows'") as failure:
        crash_everywhere(careless)

    assert isinstance(failure.value.__cause__, KeyError)


def test_it_crashes_before_and_after_each_place_and_at_all_of_them(tmp_path: Path) -> None:
    path, runs = tmp_path / "effects", []

    crash_everywhere(recorded, {"path": str(path)}, before_each=lambda: runs.append(path.exists() and path.read_text()))

    assert runs == [False, "x", "xxx", "xxxx"]
    assert path.read_text() == "xxxxx"


@task("tired")
def tired() -> int:
    number = 1
    checkpoint("one", number=number)
    checkpoint("two")
    found = current_run()
    if found is not None and found.attempt_number == 3:
        raise RuntimeError("the third attempt is too much")
    return number


def test_the_last_run_crashes_at_all_places() -> None:
    with pytest.raises(AssertionError, match="tired, crashed after each of 'one', 'two', raises RuntimeError"):
        crash_everywhere(tired)


def test_task_that_saves_nothing_cannot_pass() -> None:
    with pytest.raises(AssertionError, match="silent saves nothing with this payload"):
        crash_everywhere(silent)


@pytest.mark.parametrize(
    ("whole", "resumed", "expected"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": 1}, {}, "$.a is missing"),
        ({}, {"b": 1}, "$.b is there only after the crash"),
        ([1, [2, 3]], [1, [2, 4]], "$[1][1] is 4 instead of 3"),
        ([1, 2], [1], "$ has 1 items instead of 2"),
        ({"a": (1,)}, {"a": [1]}, "$.a is [1] instead of (1,)"),
        ("x" * 100, "y", f"$ is 'y' instead of '{'x' * 79} …"),
    ],
)
def test_first_difference_has_its_path(whole: Any, resumed: Any, expected: str | None) -> None:
    assert first_difference(whole, resumed) == expected
