"""The names after resuming: changed values are carried, shared ones are copied, the unstorable is an error."""

import dataclasses
from typing import Any

import pytest
import trigger_sdk
from trigger_sdk import checkpoint, task
from trigger_sdk.testing import run


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


def test_list_changed_between_checkpoints_is_carried() -> None:
    @task("mutating")
    def mutating(data: dict[str, int]) -> list[Any]:
        items = [1]
        checkpoint("first", items=items)
        items.append(2)
        data["seen"] = 1
        checkpoint("second")
        return [items, data]

    result = run(mutating, {"data": {"a": 0}}, crash_after="second")

    assert result.output == [[1, 2], {"a": 0, "seen": 1}]
    assert result.carried == {"second": {"items": [1, 2], "data": {"a": 0, "seen": 1}}}
    assert run(mutating, {"data": {"a": 0}}, crash_after="first").output == result.output


def test_unchanged_names_are_not_carried() -> None:
    @task("unchanged")
    def unchanged(payload: list[int]) -> list[Any]:
        found = {"set": {3, 1, 2}}
        checkpoint("first", found=found)
        checkpoint("second")
        return [payload, found]

    assert run(unchanged, {"payload": [1]}).carried == {}


def test_rebound_saved_name_is_carried() -> None:
    @task("rebinding")
    def rebinding() -> int:
        count = 1
        checkpoint("first", count=count)
        count = count + 1
        checkpoint("second")
        return count

    result = run(rebinding, crash_after="second")

    assert result.output == 2
    assert result.carried == {"second": {"count": 2}}


def test_carried_name_is_rebound_to_its_decoded_copy() -> None:
    @task("aliased")
    def aliased() -> list[Any]:
        items = [1]
        checkpoint("first", items=items)
        alias = items
        alias.append(2)
        checkpoint("second", alias=alias)
        return [items is alias, items, alias]

    assert run(aliased).output == run(aliased, crash_after="second").output == [False, [1, 2], [1, 2]]


def test_name_is_carried_once_and_no_longer_shared_afterwards() -> None:
    shared: list[Any] = []

    @task("carried-once")
    def carried_once() -> list[int]:
        items = [1]
        checkpoint("first", items=items)
        items.append(2)
        shared.append(items)
        checkpoint("second")
        shared[0].append(3)
        checkpoint("third")
        return items

    result = run(carried_once)

    assert result.output == [1, 2]
    assert result.carried == {"second": {"items": [1, 2]}}


def test_changed_name_that_cannot_be_stored_is_an_error_at_the_checkpoint() -> None:
    @task("unstorable")
    def unstorable() -> None:
        found = {"a": 1}
        checkpoint("first", found=found)
        found["lock"] = object()  # type: ignore[assignment]
        checkpoint("second")

    with pytest.raises(trigger_sdk.CodecError, match=r"\$\.found\.lock: `found` was changed .* 'second'"):
        run(unstorable)


def test_default_that_cannot_be_stored_is_restored_while_it_is_the_same() -> None:
    @task("sentinel")
    def sentinel(limit: Any = Ellipsis) -> bool:
        checkpoint("k")
        return limit is Ellipsis

    assert run(sentinel, crash_after="k").output is True


def test_expressions_are_stored_and_bind_nothing() -> None:
    @task("shown")
    def shown(order_id: str) -> str:
        total = len(order_id)
        checkpoint("k", {"total": total, "twice": total * 2})
        return f"{order_id}{total}"

    result = run(shown, {"order_id": "abc"}, crash_after="k")

    assert result.output == "abc3"
    assert result.checkpoints == {"k": {"total": 3, "twice": 6}}
    assert result.stored[0].binds == ("total",)


def test_dataclass_of_a_parameter_and_of_a_local_annotation_is_restored() -> None:
    @task("typed")
    def typed(first: Item, rest: list[Item]) -> list[Any]:
        first.count += 1
        second: Item = rest[0]
        checkpoint("k", second=second)
        return [type(first).__name__, first.count, type(second).__name__, second.sku, rest[0] is second]

    payload = {"first": {"sku": "a"}, "rest": [{"sku": "b"}]}

    assert run(typed, payload).output == run(typed, payload, crash_after="k").output == ["Item", 2, "Item", "b", False]


def test_changed_open_keywords_are_carried() -> None:
    @task("open")
    def open_keywords(**rest: Item) -> dict[str, int]:
        rest["a"].count = 5
        checkpoint("k")
        return {name: item.count for name, item in rest.items()}

    assert run(open_keywords, {"a": {"sku": "x"}, "b": {"sku": "y"}}, crash_after="k").output == {"a": 5, "b": 1}


def test_dataclass_that_no_annotation_names_is_an_error_at_the_checkpoint() -> None:
    @task("untyped")
    def untyped() -> None:
        item = Item("a")
        checkpoint("k", item=item)

    with pytest.raises(trigger_sdk.CodecError, match=r"^\$\.item: .* can only be stored where an annotation names it"):
        run(untyped)


def test_value_that_does_not_fit_its_annotation_fails_on_the_first_run() -> None:
    @task("misfit")
    def misfit() -> None:
        item: Item = {"sku": 1}  # type: ignore[assignment]
        checkpoint("k", item=item)

    with pytest.raises(trigger_sdk.CodecError, match=r"^\$\.item\.sku: .* a string is needed, not 1"):
        run(misfit)


def test_name_too_large_with_what_it_carries_is_an_error() -> None:
    @task("large")
    def large() -> None:
        one = "x"
        checkpoint("first", one=one)
        one = "x" * 2_000_000
        two = "y" * 2_000_000
        checkpoint("second", two=two)

    with pytest.raises(trigger_sdk.CodecError, match=r"changed names one, 4,000,0\d\d bytes are over 3,000,000"):
        run(large)
