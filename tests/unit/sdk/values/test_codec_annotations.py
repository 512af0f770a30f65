"""Objects that an annotation names: they come back the same, or are refused before they are stored."""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from trigger_sdk import errors
from trigger_sdk.values.codec import decode, encode
from trigger_sdk.values.shapes import restore

from tests.unit.sdk.in_process import run


class Custom:
    pass


class Number(enum.IntEnum):
    ONE = 1


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


@dataclasses.dataclass
class Order:
    id: int
    lines: list[Line]
    due: datetime.date | None = None


@dataclasses.dataclass(frozen=True)
class Point:
    x: int


def test_dataclasses_come_back_where_the_annotation_names_them() -> None:
    order = Order(1, [Line("a", decimal.Decimal("1.50"))], datetime.date(2026, 1, 2))
    annotation = dict[str, list[Order]]

    stored = encode({"new": [order]}, annotation=annotation)

    assert json.loads(stored)["new"][0]["lines"][0]["sku"] == "a"
    assert restore(decode(stored), annotation, "orders") == {"new": [order]}


def test_enumerations_come_back_where_the_annotation_names_them() -> None:
    stored = encode([Number.ONE], annotation=list[Number])

    assert restore(decode(stored), list[Number], "numbers") == [Number.ONE]
    assert type(restore(decode(stored), list[Number], "numbers")[0]) is Number


def test_models_come_back_where_the_annotation_names_them() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Customer(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        name: str
        since: datetime.date

    customer = Customer(name="Ada", since=datetime.date(2026, 1, 2))

    stored = encode([customer], annotation=list[Customer])

    assert stored == b'[{"name":"Ada","since":"2026-01-02"}]'
    assert restore(decode(stored), list[Customer], "customers") == [customer]


@dataclasses.dataclass
class Cat:
    name: str


@dataclasses.dataclass
class Dog:
    name: str


@dataclasses.dataclass(frozen=True)
class Stamped:
    at: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", self.at + 1)


@pytest.mark.parametrize(
    ("value", "annotation", "path", "part"),
    [
        ([Dog("Rex")], list[Cat | Dog], "$.pets[0]", "the Dog would come back as Cat"),
        (Number.ONE, Number | int, "$.pets", "the Number would come back as int"),
        ({"a": Stamped(1)}, dict[str, Stamped], "$.pets.a.at", "2 would come back as 3"),
        (None, Cat, "$.pets", "does not fit its annotation: must be an object, not None"),
        ((Cat("Tom"),), list[Cat], "$.pets", "does not fit its annotation: must be an array"),
        ([Cat("Tom")], collections.OrderedDict[str, Cat], "$.pets", r"its annotation .* cannot be read"),
        ([Cat("Tom")], collections.deque[Cat], "$.pets", "the list would come back as deque"),
    ],
)
def test_value_that_its_annotation_would_not_give_back_is_refused(
    value: Any, annotation: Any, path: str, part: str
) -> None:
    with pytest.raises(errors.UnsupportedType, match=part) as refusal:
        encode(value, annotation=annotation, at=("pets",), is_restored=True)

    assert refusal.value.path == path


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ([Cat("Tom")], list[Cat | Dog]),
        ([Line("a", 1)], list[Line]),  # type: ignore[arg-type]
        ([None, Order(1, [])], list[Order | None]),
        (Number.ONE, Number),
    ],
)
def test_value_that_comes_back_equal_is_stored(value: Any, annotation: Any) -> None:
    stored = encode(value, annotation=annotation, is_restored=True)

    assert restore(decode(stored), annotation, "x") == value


def test_set_of_objects_comes_back() -> None:
    value = {Point(2), Point(1)}

    stored = encode(value, annotation=set[Point], is_restored=True)

    assert stored == b'[{"x":1},{"x":2}]'
    assert restore(decode(stored), set[Point], "points") == value


def test_model_that_cannot_be_written_is_refused_with_its_path() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Blob(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        data: bytes

    with pytest.raises(errors.UnsupportedType, match=r"Blob cannot be written: .*utf-8") as refusal:
        encode([Blob(data=b"\xff")], annotation=list[Blob], at=("blobs",))

    assert refusal.value.path == "$.blobs[0]"


def test_problem_inside_a_dataclass_is_named_with_its_path() -> None:
    order = Order(1, [Line("a", Custom())])  # type: ignore[arg-type]

    with pytest.raises(errors.UnsupportedType) as refusal:
        encode(order, annotation=Order, at=("order",))

    assert refusal.value.path == "$.order.lines[0].price"


PETS = """
    import dataclasses

    @dataclasses.dataclass
    class Cat:
        name: str

    @dataclasses.dataclass
    class Dog:
        name: str

    @task("saved")
    def saved():
        pet: Cat | Dog = Dog("Rex")
        checkpoint("met", pet=pet)
        return pet.name

    @task("changed")
    def changed():
        pets: list[Cat | Dog] = [Cat("Tom")]
        checkpoint("met", pets=pets)
        pets.append(Dog("Rex"))
        checkpoint("grown")
        return len(pets)

    @step
    def find() -> Cat | Dog:
        return Dog("Rex")

    @task("found")
    def found():
        return find().name
"""


@pytest.mark.parametrize(("task_id", "kept"), [("saved", []), ("changed", ["met"]), ("found", [])])
def test_nothing_is_stored_that_would_come_back_as_another(
    load: Callable[[str], ModuleType], task_id: str, kept: list[str]
) -> None:
    module = load("from trigger_sdk import step\n" + textwrap.dedent(PETS))

    with pytest.raises(errors.UnsupportedType, match="the Dog would come back as Cat") as refusal:
        run(getattr(module, task_id))

    assert [entry.key for entry in refusal.value.trigger_result.stored] == kept  # type: ignore[attr-defined]
