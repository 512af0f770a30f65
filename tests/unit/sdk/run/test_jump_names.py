"""The names after resuming: changed values are carried, shared ones are copied, the unstorable is an error."""

import dataclasses
from typing import Any

import pytest
import trigger_sdk
from trigger_sdk import checkpoint, task

from tests.unit.sdk.in_process import run


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
        item = {"a": Item("a")}["a"]
        checkpoint("k", item=item)

    with pytest.raises(trigger_sdk.CodecError, match=r"^\$\.item: .* cannot be stored unless an annotation names it"):
        run(untyped)


def test_value_that_does_not_fit_its_annotation_fails_on_the_first_run() -> None:
    @task("misfit")
    def misfit() -> None:
        item: Item = {"sku": 1}  # type: ignore[assignment]
        checkpoint("k", item=item)

    with pytest.raises(trigger_sdk.CodecError, match=r"^\$\.item\.sku: .* must be a string, not 1"):
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


def test_unchanged_names_of_one_object_are_parted_too() -> None:
    @task("parted")
    def parted() -> list[Any]:
        one, other = [1], [1]
        checkpoint("first", one=one, other=other)
        other = one
        checkpoint("second")
        one.append(2)
        return [one, other]

    assert run(parted).output == run(parted, crash_after="second").output == [[1, 2], [1]]


def test_computed_default_is_carried_by_the_first_checkpoint() -> None:
    numbers = iter(range(10))

    @task("computed")
    def computed(number: int = next(numbers), fixed: int = 7) -> list[int]:
        checkpoint("first")
        checkpoint("second")
        return [number, fixed]

    result = run(computed, crash_after="first")

    assert result.carried == {"first": {"number": 0}}
    assert result.output == [0, 7]


def test_positional_only_parameters_are_filled_and_restored_by_their_names() -> None:
    @task("positional")
    def positional(first: list[int], second: int = 2, /, third: int = 3, **rest: int) -> list[Any]:
        first.append(second)
        checkpoint("k")
        return [first, second, third, rest]

    assert run(positional, {"first": [1], "x": 4}, crash_after="k").output == [[1, 2], 2, 3, {"x": 4}]
    assert run(positional, {"first": [], "second": 5}).output == [[5], 5, 3, {}]


def test_constant_that_looks_like_the_plan_is_the_users() -> None:
    @task("constant")
    def constant() -> list[Any]:
        mark = ("trigger_sdk", "plan")
        checkpoint("k", mark=mark)
        return [mark, ("trigger_sdk", "plan")]

    assert run(constant).output == [("trigger_sdk", "plan")] * 2


def test_field_that_a_class_computes_is_carried_by_the_first_checkpoint(load: Any) -> None:
    """Another attempt reads the same payload, and its class would create a different id."""
    module = load("""
        import dataclasses
        import uuid

        @dataclasses.dataclass
        class Order:
            number: int
            id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
            lines: list = dataclasses.field(default_factory=list)

        @dataclasses.dataclass
        class Plain:
            lines: list = dataclasses.field(default_factory=list)

        @task(id="order")
        def order_task(order: Order, plain: Plain):
            first = order.id
            checkpoint("seen", first=first)
            return [first, order.id]
    """)

    result = run(module.order_task, {"order": {"number": 1}, "plain": {}}, crash_after="seen")

    assert result.output[0] == result.output[1]
    assert list(result.carried["seen"]) == ["order"]
