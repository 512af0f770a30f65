"""What resuming does: nothing before the last checkpoint runs again, and the names are as they were."""

import asyncio
import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from trigger_sdk import checkpoint, task
from trigger_sdk.errors import ResumeRefused
from trigger_sdk.run.attempt import run_task
from trigger_sdk.run.stored import StoredCheckpoint
from trigger_sdk.tasks import registry

from tests.unit.sdk.in_process import run
from tests.unit.sdk.sources import effect, effects


class Database:
    def fetch_order(self, order_id: str) -> dict[str, Any]:
        return {"id": effect("fetch") and order_id, "product_id": "P7"}

    def decrement_inventory(self, product_id: str) -> None:
        effect(f"decrement {product_id}")
        if failing == "decrement":
            raise ConnectionError("no inventory")


class Stripe:
    def charge(self, order: dict[str, Any], idempotency_key: Any) -> dict[str, Any]:
        effect("charge")
        if failing == "charge":
            raise ConnectionError("no payment")
        return {"id": f"pay-{order['id']}"}


db = Database()
stripe = Stripe()
failing: str | None = None


@task(id="process-order", max_concurrency=20)
def process_order(order_id: str):
    order = db.fetch_order(order_id)
    checkpoint("order-fetched", {"order": order})
    payment = stripe.charge(order, idempotency_key=...)
    checkpoint("payment-complete", {"payment": payment})
    db.decrement_inventory(order["product_id"])
    return {"order_id": order_id, "payment_id": payment["id"]}


OUTPUT = {"order_id": "A1", "payment_id": "pay-A1"}


def test_article_example_runs_through() -> None:
    result = run(process_order, {"order_id": "A1"})

    assert result.output == OUTPUT
    assert effects == ["fetch", "charge", "decrement P7"]
    assert result.checkpoints == {
        "order-fetched": {"order": {"id": "A1", "product_id": "P7"}},
        "payment-complete": {"payment": {"id": "pay-A1"}},
    }


def test_failed_charge_is_retried_without_fetching_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "failing", "charge")
    with pytest.raises(ConnectionError) as failure:
        run(process_order, {"order_id": "A1"})
    monkeypatch.setattr(sys.modules[__name__], "failing", None)

    result = run(process_order, {"order_id": "A1"}, resume=failure.value)

    assert effects == ["fetch", "charge", "charge", "decrement P7"]
    assert result.resumed_from == "order-fetched"
    assert result.attempts == 2
    assert result.output == OUTPUT


def test_failed_decrement_is_retried_with_order_and_payment_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "failing", "decrement")
    with pytest.raises(ConnectionError) as failure:
        run(process_order, {"order_id": "A1"})
    monkeypatch.setattr(sys.modules[__name__], "failing", None)

    result = run(process_order, {"order_id": "A1"}, resume=failure.value)

    assert effects == ["fetch", "charge", "decrement P7", "decrement P7"]
    assert result.resumed_from == "payment-complete"
    assert result.output == OUTPUT


@pytest.mark.parametrize("key", ["order-fetched", "payment-complete"])
def test_crash_after_each_checkpoint_repeats_nothing(key: str) -> None:
    result = run(process_order, {"order_id": "A1"}, crash_after=key)

    assert effects == ["fetch", "charge", "decrement P7"]
    assert result.output == OUTPUT
    assert result.resumed_from == key


def test_direct_call_is_the_plain_function() -> None:
    assert process_order("A1") == OUTPUT
    assert effects == ["fetch", "charge", "decrement P7"]


def test_direct_call_passes_saved_names_through_the_codec() -> None:
    seen: list[Any] = []

    @task("copies")
    def copies() -> None:
        original = [1]
        seen.append(original)
        checkpoint("saved", original=original)
        seen.append(original)

    copies()

    assert seen == [[1], [1]]
    assert seen[0] is not seen[1]


@task("async-order")
async def async_order(order_id: str, *, quantity: int = 2) -> list[Any]:
    await asyncio.sleep(0)
    order = effect({"id": order_id})
    await checkpoint("fetched", order=order)
    await asyncio.sleep(0)
    charged = effect("charge") + order["id"]
    await checkpoint("charged", charged=charged)
    effect("ship")
    return [order, charged, quantity]


@pytest.mark.parametrize("key", ["fetched", "charged"])
def test_async_task_resumes_after_each_checkpoint(key: str) -> None:
    result = run(async_order, {"order_id": "B2"}, crash_after=key)

    assert effects == [{"id": "B2"}, "charge", "ship"]
    assert result.output == [{"id": "B2"}, "chargeB2", 2]


def test_async_task_called_directly() -> None:
    assert asyncio.run(async_order("B2", quantity=5)) == [{"id": "B2"}, "chargeB2", 5]


def test_async_checkpoint_leaves_the_event_loop_free() -> None:
    ticks = []
    ticking = []

    @task("free-loop")
    async def free_loop() -> None:
        async def tick() -> None:
            while True:
                ticks.append(1)
                await asyncio.sleep(0)

        ticking.append(asyncio.ensure_future(tick()))
        await asyncio.sleep(0)
        await checkpoint("one")

    started = len(ticks)

    class Slow:
        run_id = idempotency_scope = "r"
        attempt_number = 1

        def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None:
            while len(ticks) < started + 100:
                assert not asyncio._get_running_loop()

        def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

        def main_coroutine(self, coroutine: Any) -> Any:
            return coroutine

    run_task(registry["free-loop"], b"{}", [], Slow())

    assert len(ticks) >= started + 100


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        effect("before")
        try:
            return function(*args, **kwargs)
        finally:
            effect("after")

    return wrapper


def make_task(prefix: str) -> Callable[..., Any]:
    counter = 10

    @task("closure")
    @logged
    def closure(a: int, b: int = 2, *, c: int = 3) -> list[Any]:
        total = a + b + c + counter
        checkpoint("summed", total=total)
        effect(f"{prefix}{total}")
        return [total, prefix, a, b, c, counter]

    return closure


def test_closures_defaults_keyword_only_and_inner_decorators_stay_intact() -> None:
    function = make_task("x")

    result = run(function, {"a": 1}, crash_after="summed")

    assert result.output == [16, "x", 1, 2, 3, 10]
    assert effects == ["before", "after", "before", "x16", "after"]
    assert function.__name__ == "closure"
    assert function(1, c=4) == [17, "x", 1, 2, 4, 10]


def test_task_returns_the_same_function_object() -> None:
    def plain(x: int) -> int:
        checkpoint("k", x=x)
        return x

    assert task("same")(plain) is plain
    assert plain.__doc__ is None
    assert plain.__defaults__ is None


def test_method_with_private_name_and_class_cell_keeps_both() -> None:
    class Base:
        @staticmethod
        def hello() -> str:
            return "base"

    class Orders(Base):
        __secret = "s"

        @staticmethod
        @task("in-class")
        def work() -> list[str]:
            first = Orders.__secret
            checkpoint("k", first=first)
            return [first, __class__.hello()]  # type: ignore[name-defined]

    assert run(Orders.work, crash_after="k").output == ["s", "base"]


@pytest.mark.parametrize("resumed", [False, True])
def test_traceback_shows_the_line_that_failed(resumed: bool) -> None:
    @task("broken")
    def broken() -> None:
        ready = 1
        checkpoint("ready", ready=ready)
        ready += 1
        raise LookupError(ready)

    first = broken.__code__.co_firstlineno

    with pytest.raises(LookupError) as failure:
        run(broken, crash_after="ready" if resumed else None)

    last = traceback.extract_tb(failure.value.__traceback__)[-1]
    assert (last.name, last.lineno, last.line) == ("broken", first + 5, "raise LookupError(ready)")


def test_names_of_the_compiler_are_not_identifiers() -> None:
    added = set(process_order.__code__.co_varnames) - {"order_id", "order", "payment"}

    assert added
    assert not any(name.isidentifier() for name in added)


def stored(key: str, index: int, data: bytes, *binds: str) -> StoredCheckpoint:
    return StoredCheckpoint(key, index, data, binds)


class Silent:
    run_id = idempotency_scope = "r"
    attempt_number = 2

    def save_checkpoint(self, key: str, data: bytes, binds: list[str], carried: bytes | None) -> None: ...

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None: ...

    def main_coroutine(self, coroutine: Any) -> Any:
        return coroutine


def test_resume_with_a_key_that_the_code_lacks_is_refused() -> None:
    with pytest.raises(ResumeRefused) as refusal:
        run_task(registry["process-order"], b'{"order_id":"A1"}', [stored("gone", 0, b"{}")], Silent())

    assert refusal.value.key == "gone"
    assert effects == []


def test_resume_without_a_name_that_the_code_needs_is_refused() -> None:
    rows = [stored("payment-complete", 0, b'{"payment":{"id":"p"}}', "payment")]

    with pytest.raises(ResumeRefused, match="`order`") as refusal:
        run_task(registry["process-order"], b'{"order_id":"A1"}', rows, Silent())

    assert refusal.value.missing == ("order",)
    assert effects == []


def test_later_checkpoints_win_by_index_whatever_their_order() -> None:
    rows = [
        stored("payment-complete", 1, b'{"payment":{"id":"p2"},"order":{"product_id":"new"}}', "payment", "order"),
        stored("order-fetched", 0, b'{"order":{"product_id":"old"}}', "order"),
    ]

    output = run_task(registry["process-order"], b'{"order_id":"A1"}', rows, Silent())

    assert output == b'{"order_id":"A1","payment_id":"p2"}'
    assert effects == ["decrement new"]
