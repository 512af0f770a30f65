"""Calls of `unittest.mock` objects in an attempt's process are found in the test."""

import threading
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, call, create_autospec, patch

import pytest
from trigger_sdk import checkpoint, task
from trigger_sdk.testing import run

from tests.unit.sdk import docs_world


class Shop:
    def charge(self, order: dict[str, Any], *, cents: int) -> str:
        raise NotImplementedError


shop: Any = None


@task("sells")
def sells(fail: bool = False) -> Any:
    receipt = shop.charge({"id": "A1"}, cents=990)
    checkpoint("charged", receipt=receipt)
    with shop.lock as lock:
        lock.touch(threading.Lock())
    if fail:
        raise ValueError("after all")
    return receipt


@pytest.fixture
def sold(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    mock = MagicMock()
    mock.charge.return_value = "r-1"
    monkeypatch.setitem(globals(), "shop", mock)
    return mock


def test_calls_of_all_attempts_arrive_even_of_the_one_that_crashes(sold: MagicMock) -> None:
    result = run(sells, crash_after="charged")

    assert result.output == "r-1"
    sold.charge.assert_called_once_with({"id": "A1"}, cents=990)
    assert [entry[0] for entry in sold.mock_calls] == [
        "charge",
        "lock.__enter__",
        "lock.__enter__().touch",
        "lock.__exit__",
    ]
    (shown,) = sold.lock.__enter__.return_value.touch.call_args.args
    assert "unlocked _thread.lock" in shown


def test_calls_of_an_attempt_that_fails_arrive(sold: MagicMock) -> None:
    with pytest.raises(ValueError, match="after all"):
        run(sells, {"fail": True})

    sold.charge.assert_called_once()


def test_calls_before_and_after_the_run_count_too(sold: MagicMock) -> None:
    sold.charge("before")
    run(sells)
    sold.charge("after")

    assert sold.charge.call_args_list == [call("before"), call({"id": "A1"}, cents=990), call("after")]
    assert sold.charge.call_count == 3


def test_side_effects_are_used_up_over_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    mock = Mock()
    mock.charge.side_effect = [ConnectionError("no route"), "r-2"]

    @task("sells-once")
    def sells_once() -> Any:
        return mock.charge()

    with pytest.raises(ConnectionError) as failure:
        run(sells_once)

    assert run(sells_once, resume=failure.value).output == "r-2"
    assert mock.charge.call_count == 2


def test_awaited_specified_and_patched_mocks_arrive() -> None:
    fetch = AsyncMock(return_value=7)
    typed = create_autospec(Shop, instance=True)
    typed.charge.return_value = "r-3"

    @task("asks")
    async def asks() -> list[Any]:
        return [await fetch("url"), typed.charge({}, cents=1), docs_world.fetch_page(1)]

    with patch.object(docs_world, "fetch_page", return_value=["row"]) as page:
        assert run(asks).output == [7, "r-3", ["row"]]

    fetch.assert_awaited_once_with("url")
    typed.charge.assert_called_once_with({}, cents=1)
    page.assert_called_once_with(1)


def test_mock_that_is_passed_to_another_is_the_same_in_the_test() -> None:
    outer, inner = Mock(), Mock()

    @task("passes")
    def passes() -> None:
        outer(inner, key=inner.part)

    run(passes)

    assert outer.call_args.args == (inner,)
