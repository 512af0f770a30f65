"""Payloads by annotation: the JSON Schema that the server checks on arrival, and the binding in the task."""

import dataclasses
import datetime
import decimal
import enum
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict, Union

import jsonschema_rs
import pytest
from trigger_sdk.errors import PayloadError, RegistrationError
from trigger_sdk.tasks import registry, task
from trigger_sdk.values.schema import bind_payload, payload_schema
from trigger_sdk.values.texts import DECIMAL

OrderId = NewType("OrderId", str)


class Color(enum.Enum):
    RED = "red"
    ONE = 1


class Address(TypedDict):
    city: str
    zip: NotRequired[str]


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal
    count: int = 1


@dataclasses.dataclass
class Tree:
    value: int
    children: list["Tree"] = dataclasses.field(default_factory=list)


MOMENT = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
TEXT = {"type": "string"}
INTEGER = {"type": "integer"}
BYTES = {**TEXT, "contentEncoding": "base64", "x-text": "bytes"}
NUMBER = {"type": "number", "minimum": -sys.float_info.max, "maximum": sys.float_info.max}


def text_as(reader: str, name: str) -> dict[str, str]:
    return {**TEXT, "format": name, "x-text": reader}


# An annotation, its schema, pairs of a payload value and what the task gets, pairs of a wrong value and its path.
KINDS: list[tuple[Any, Any, list[tuple[Any, Any]], list[tuple[Any, str]]]] = [
    (str, TEXT, [("a", "a")], [(1, "$.x"), (None, "$.x")]),
    (int, INTEGER, [(1, 1), (2.0, 2)], [(1.5, "$.x"), (True, "$.x"), ("1", "$.x")]),
    (float, NUMBER, [(1.5, 1.5), (2, 2.0)], [(True, "$.x"), ("1", "$.x"), (10**400, "$.x")]),
    (bool, {"type": "boolean"}, [(True, True)], [(1, "$.x"), ("true", "$.x")]),
    (None, {"type": "null"}, [(None, None)], [(0, "$.x")]),
    (Any, {}, [([1, {}], [1, {}])], []),
    (OrderId, TEXT, [("a", "a")], [(1, "$.x")]),
    (Annotated[int, "unit"], INTEGER, [(1, 1)], [("a", "$.x")]),
    (list, {"type": "array", "items": {}}, [([1, "a"], [1, "a"])], [({}, "$.x")]),
    (list[int], {"type": "array", "items": INTEGER}, [([1], [1])], [([1, "a"], "$.x[1]")]),
    (Sequence[str], {"type": "array", "items": TEXT}, [(["a"], ["a"])], [("a", "$.x")]),
    (
        set[int],
        {"type": "array", "items": INTEGER},
        [([1, 2, 1], {1, 2})],
        [(["a"], "$.x[0]")],
    ),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INTEGER, TEXT], "items": False, "minItems": 2},
        [([1, "a"], (1, "a"))],
        [([1], "$.x"), ([1, 2], "$.x[1]"), ([1, "a", 2], "$.x")],
    ),
    (tuple[int, ...], {"type": "array", "items": INTEGER}, [([1, 2], (1, 2))], [(["a"], "$.x[0]")]),
    (dict[str, str], {"type": "object", "additionalProperties": TEXT}, [({"a": ""}, {"a": ""})], [({"a": 1}, "$.x.a")]),
    (Mapping[str, Any], {"type": "object", "additionalProperties": {}}, [({"a": []}, {"a": []})], [([], "$.x")]),
    (Optional[int],  # noqa: UP045
     {"anyOf": [INTEGER, {"type": "null"}]}, [(None, None), (1, 1)], [("a", "$.x")]),
    (int | str, {"anyOf": [INTEGER, TEXT]}, [("1", "1"), (1, 1)], [(None, "$.x")]),
    (
        Union[float, int],  # noqa: UP007
        {"anyOf": [NUMBER, INTEGER]},
        [(1, 1), (1.5, 1.5)],
        [("a", "$.x")],
    ),
    (Literal["a", 1], {"enum": ["a", 1]}, [("a", "a"), (1, 1)], [(True, "$.x"), ("b", "$.x")]),
    (Color, {"enum": ["red", 1]}, [("red", Color.RED), (1, Color.ONE)], [("blue", "$.x"), (True, "$.x")]),
    (
        datetime.datetime,
        text_as("datetime", "date-time"),
        [("2026-01-02T03:04:00Z", MOMENT)],
        [("yesterday", "$.x"), (1, "$.x")],
    ),
    (datetime.date, text_as("date", "date"), [("2026-01-02", datetime.date(2026, 1, 2))], [("x", "$.x")]),
    (datetime.time, text_as("time", "time"), [("03:04", datetime.time(3, 4))], [("25:00", "$.x")]),
    (
        datetime.timedelta,
        text_as("timedelta", "duration"),
        [("P1DT2H", datetime.timedelta(days=1, hours=2)), ("-PT1.5S", datetime.timedelta(seconds=-1.5))],
        [("PT", "$.x"), ("P", "$.x"), ("1h", "$.x"), ("P" + "9" * 20 + "D", "$.x")],
    ),
    (uuid.UUID, text_as("uuid", "uuid"), [(str(uuid.UUID(int=7)), uuid.UUID(int=7))], [("7", "$.x")]),
    (bytes, BYTES, [("eA==", b"x")], [("!", "$.x"), ("é", "$.x")]),
    (Address, None, [({"city": "Ulm"}, {"city": "Ulm"})], [({}, "$.x.city"), ({"city": "U", "town": ""}, "$.x.town")]),
    (
        list[Line],
        None,
        [([{"sku": "a", "price": "1.50"}], [Line("a", decimal.Decimal("1.50"))])],
        [([{"sku": "a", "price": "x"}], "$.x[0].price"), ([{"sku": "a", "price": "Infinity"}], "$.x[0].price")],
    ),
    (
        Tree,
        None,
        [({"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)]))],
        [({"value": 1, "children": [{}]}, "$.x.children[0].value")],
    ),
    (Tree | None, None, [(None, None)], [({"value": "a"}, "$.x.value")]),
]  # fmt: skip


def with_parameter(annotation: Any) -> Callable[..., Any]:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return function


@pytest.mark.parametrize(("annotation", "schema", "good", "bad"), KINDS, ids=[str(kind[0]) for kind in KINDS])
def test_annotation_is_read_as_its_schema_says(
    annotation: Any, schema: Any, good: list[tuple[Any, Any]], bad: list[tuple[Any, str]]
) -> None:
    function = with_parameter(annotation)
    whole = payload_schema(function)
    validator = jsonschema_rs.Draft202012Validator(whole)

    if schema is not None:
        assert whole["properties"]["x"] == schema
    for value, expected in good:
        bound = bind_payload(function, {"x": value})["x"]
        assert (bound, type(bound)) == (expected, type(expected))
        assert validator.is_valid({"x": value})
    for value, path in bad:
        with pytest.raises(PayloadError) as refusal:
            bind_payload(function, {"x": value})
        assert refusal.value.path == path


def test_schema_names_what_is_required_and_allows_nothing_else() -> None:
    def function(order_id: str, count: int = 2, *, notes: Any = None, line: Line | None = None) -> None: ...

    assert payload_schema(function) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "order_id": TEXT,
            "count": {"type": "integer", "default": 2},
            "notes": {"default": None},
            "line": {"anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}], "default": None},
        },
        "required": ["order_id"],
        "additionalProperties": False,
        "$defs": {
            "Line": {
                "x-class": f"{__name__}.Line",
                "type": "object",
                "properties": {
                    "sku": TEXT,
                    "price": {"type": ["string", "number"], "pattern": DECIMAL, "x-text": "decimal"},
                    "count": INTEGER,
                },
                "required": ["sku", "price"],
                "additionalProperties": False,
            }
        },
    }


@pytest.mark.parametrize(
    ("payload", "path", "part"),
    [
        ({}, "$.order_id", "is missing"),
        ({"order_id": "a", "extra": 1}, "$.extra", r"not a parameter of the task \(it has order_id\)"),
        ([], "$", "an object"),
        (None, "$", "an object"),
        ({"order_id": {"id": 1}}, "$.order_id", "must be a string, not an object"),
    ],
)
def test_payload_that_does_not_fit_is_refused_with_its_path(payload: Any, path: str, part: str) -> None:
    def function(order_id: str) -> None: ...

    with pytest.raises(PayloadError, match=part) as refusal:
        bind_payload(function, payload)

    assert refusal.value.path == path


def test_task_without_parameters_takes_an_empty_object_or_null() -> None:
    def function() -> None: ...

    assert bind_payload(function, None) == bind_payload(function, {}) == {}
    assert payload_schema(function)["type"] == ["object", "null"]
    with pytest.raises(PayloadError, match="it has none"):
        bind_payload(function, {"x": 1})


def test_open_keywords_take_the_rest() -> None:
    def function(a: int, **rest: int) -> None: ...

    schema = payload_schema(function)
    assert (schema["additionalProperties"], schema["x-extra"]) == (INTEGER, "rest")
    assert bind_payload(function, {"a": 1, "b": 2}) == {"a": 1, "b": 2}
    with pytest.raises(PayloadError, match=r"^\$\.b"):
        bind_payload(function, {"a": 1, "b": "x"})


def test_model_is_described_and_checked_by_itself() -> None:
    pydantic = pytest.importorskip("pydantic")

    class City(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        name: str

    class Customer(pydantic.BaseModel):  # type: ignore[name-defined,misc]
        age: int = pydantic.Field(ge=0)
        city: City

    function = with_parameter(Customer)

    schema = payload_schema(function)

    assert schema["properties"]["x"] == {"$ref": "#/$defs/Customer"}
    assert set(schema["$defs"]) == {"Customer", "City"}
    assert bind_payload(function, {"x": {"age": 1, "city": {"name": "Ulm"}}})["x"] == Customer(
        age=1, city=City(name="Ulm")
    )
    with pytest.raises(PayloadError) as refusal:
        bind_payload(function, {"x": {"age": -1, "city": {"name": "Ulm"}}})
    assert refusal.value.path == "$.x.age"


class Client:
    pass


@pytest.mark.parametrize("annotation", [Client, list[Client], dict[int, str], Callable[[], int], "Unknown"])
def test_annotation_that_no_json_can_fill_is_refused_when_the_schema_is_asked_for(annotation: Any) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    task("t")(function)

    with pytest.raises(RegistrationError) as refusal:
        registry["t"].schema()

    assert refusal.value.code == "parameter"
    assert refusal.value.line == function.__code__.co_firstlineno


def test_annotation_may_name_a_class_that_is_defined_later() -> None:
    def function(x: "LateClass") -> None: ...

    task("t")(function)

    assert registry["t"].schema()["properties"]["x"] == {"$ref": "#/$defs/LateClass"}


@dataclasses.dataclass
class LateClass:
    a: int
