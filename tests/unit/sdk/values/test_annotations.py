"""What annotations are understood: generics with arguments, string annotations, aliases, named tuples, enumerations."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
from collections import abc
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import jsonschema_rs
import pytest
import typing_extensions
from trigger_sdk.errors import PayloadError, UnsupportedType
from trigger_sdk.values.annotations import field_hints, named_classes, required_fields, strip
from trigger_sdk.values.codec import decode, encode
from trigger_sdk.values.schema import SignatureError, bind_payload, payload_schema
from trigger_sdk.values.shapes import restore

T = TypeVar("T")
K = TypeVar("K")


class Colour(enum.Enum):
    RED = "red"


class Old(str, enum.Enum):  # noqa: UP042 - the old way, whose str() is another text
    A = "a"


class Size(enum.Enum):
    SMALL = (64, 64)
    LARGE = (1024, 768)


class Start(enum.Enum):
    FIRST = datetime.date(2026, 1, 1)


class Odd(enum.Enum):
    NEVER = frozenset({1})


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Labelled(Box[Colour], Generic[T]):
    label: T | None = None


@dataclasses.dataclass
class Node(Generic[T]):
    value: T
    next: Node[T] | None = None


class Pair(NamedTuple, Generic[T, K]):
    left: T
    right: K


class Place(NamedTuple):
    city: str
    since: datetime.date = datetime.date(2026, 1, 1)


class Contact(TypedDict):
    name: str
    phone: NotRequired[str]
    colour: Annotated[NotRequired[Colour], "note"]


class Loose(Contact, total=False):
    id: Required[int]
    age: int


class Page(TypedDict, Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Everything:
    box: Box[Place]
    queue: collections.deque[Colour]
    frozen: frozenset[Colour]
    where: pathlib.Path
    page: Page[Colour]
    rate: float


Untyped = collections.namedtuple("Untyped", "a b")
Colours = NewType("Colours", list[Colour])
Json = typing_extensions.TypeAliasType("Json", "int | Colour | list[Json]")
Two = typing_extensions.TypeAliasType("Two", tuple[T, T], type_params=(T,))


def with_parameter(annotation: Any) -> abc.Callable[..., Any]:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return function


READ = [
    (Box[int], {"item": 1, "more": [2]}, Box(1, [2])),
    (Box[Colour], {"item": "red"}, Box(Colour.RED)),
    (Labelled[int], {"item": "red", "label": 1}, Labelled(Colour.RED, [], 1)),
    (Box[Box[Colour]], {"item": {"item": "red"}}, Box(Box(Colour.RED))),
    (Node[Colour], {"value": "red", "next": {"value": "red"}}, Node(Colour.RED, Node(Colour.RED))),
    (Pair[int, Colour], [1, "red"], Pair(1, Colour.RED)),
    (Place, ["Ulm"], Place("Ulm")),
    (Place, ["Ulm", "2026-05-01"], Place("Ulm", datetime.date(2026, 5, 1))),
    (Untyped, [1, "x"], Untyped(1, "x")),
    (Contact, {"name": "a"}, {"name": "a"}),
    (Contact, {"name": "a", "colour": "red"}, {"name": "a", "colour": Colour.RED}),
    (Loose, {"name": "a", "id": 1}, {"name": "a", "id": 1}),
    (Page[Colour], {"items": ["red"]}, {"items": [Colour.RED]}),
    (Colours, ["red"], [Colour.RED]),
    (Two[Colour], ["red", "red"], (Colour.RED, Colour.RED)),
    (Size, [64, 64], Size.SMALL),
    (Start, "2026-01-01", Start.FIRST),
    (Literal[Colour.RED, 1], "red", Colour.RED),
    (Literal[Colour.RED, 1], 1.0, 1),
    (frozenset[Old], ["a", "a"], frozenset({Old.A})),
    (collections.deque[int], [1, 2], collections.deque([1, 2])),
    (pathlib.Path, "a/b", pathlib.Path("a/b")),
    (set[Any], [1, "a", None], {1, "a", None}),
]


@pytest.mark.parametrize(("annotation", "payload", "expected"), READ, ids=[f"{one[0]}-{one[1]}" for one in READ])
def test_payload_is_read_by_its_annotation(annotation: Any, payload: Any, expected: Any) -> None:
    function = with_parameter(annotation)

    found = bind_payload(function, {"x": payload})["x"]

    assert (found, type(found)) == (expected, type(expected))
    assert jsonschema_rs.Draft202012Validator(payload_schema(function)).is_valid({"x": payload})


@pytest.mark.parametrize(
    ("annotation", "payload", "message"),
    [
        (Box[int], {"item": "a"}, "$.x.item: must be an integer, not 'a'"),
        (Labelled[int], {"item": 1}, "$.x.item: must be one of 'red', not 1"),
        (Node[int], {"value": 1, "next": {"value": "a"}}, "$.x.next.value: must be an integer, not 'a'"),
        (Pair[int, int], [1], "$.x: must have 2 items, not 1"),
        (Place, [], "$.x: must have 1 to 2 items, not 0"),
        (Place, "Ulm", "$.x: must be an array of city, since, not 'Ulm'"),
        (Contact, {"phone": "1"}, "$.x.name: is missing"),
        (Loose, {"name": "a"}, "$.x.id: is missing"),
        (Size, [64, 65], "$.x: must be one of (64, 64), (1024, 768), not an array"),
        (set[Any], [[1]], "$.x: has an item that cannot be in a set: unhashable type: 'list'"),
        (int | None, "a", "$.x: must be an integer or null, not 'a'"),
        (datetime.date | None, "2026-02-30",
         "$.x: must be a date (ISO 8601) or null, not '2026-02-30': day is out of range for month"),
        (Place | Contact, {"phone": "1"}, "$.x.name: is missing"),
    ],
)  # fmt: skip
def test_payload_that_does_not_fit_says_where_and_why(annotation: Any, payload: Any, message: str) -> None:
    function = with_parameter(annotation)

    with pytest.raises(PayloadError) as refusal:
        bind_payload(function, {"x": payload})

    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("annotation", "part"),
    [
        (set[list[int]], "`list[int]` cannot be in a set: a list is not hashable"),
        (frozenset[Contact], "`Contact` cannot be in a set: a Contact is not hashable"),
        (set[Box[int]], "cannot be in a set: a Box is not hashable"),
        (set[tuple[int, list[int]]], "cannot be in a set: a list is not hashable"),
        (set[Pair[int, dict[str, int]]], "because of its field `right`: a dict is not hashable"),
        (set[Untyped], "because of its field `a`: it may be anything"),
        (Odd, "`Odd` has a value that no payload can have: JSON has nothing for frozenset"),
        (dict[Colour, int], "has keys that are not str"),
    ],
)
def test_parameter_that_no_payload_can_fill_is_refused_with_the_reason(annotation: Any, part: str) -> None:
    with pytest.raises(SignatureError) as refusal:
        payload_schema(with_parameter(annotation))

    assert part in str(refusal.value)


def test_classes_that_share_a_name_are_described_apart() -> None:
    def made(annotation: Any) -> Any:
        return dataclasses.make_dataclass("Order", [("id", annotation)])

    def function(a: Any, b: Any, c: Any, d: Any) -> None: ...

    one, other = made(int), made(str)
    function.__annotations__ |= {"a": one, "b": other, "c": Box[int], "d": Box[str]}

    schema = payload_schema(function)

    assert set(schema["$defs"]) == {"Order", "Order-2", "Box_int_", "Box_str_"}
    assert jsonschema_rs.Draft202012Validator(schema).is_valid(
        {"a": {"id": 1}, "b": {"id": "a"}, "c": {"item": 1}, "d": {"item": "a"}}
    )


def test_models_that_share_a_name_are_described_apart() -> None:
    import pydantic

    def made(kind: Any) -> Any:
        part = pydantic.create_model("Part", id=(kind, ...))
        return pydantic.create_model("Order", part=(part, ...))

    def function(a: Any, b: Any) -> None: ...

    function.__annotations__ |= {"a": made(int), "b": made(str)}

    validator = jsonschema_rs.Draft202012Validator(payload_schema(function))

    assert validator.is_valid({"a": {"part": {"id": 1}}, "b": {"part": {"id": "a"}}})
    assert not validator.is_valid({"a": {"part": {"id": "a"}}, "b": {"part": {"id": "a"}}})
    assert not validator.is_valid({"a": {"part": {"id": 1}}, "b": {"part": {"id": 1}}})


STORED = [
    (Box[Colour], Box(Colour.RED, [Colour.RED])),
    (Labelled[Place], Labelled(Colour.RED, [], Place("Ulm"))),
    (list[Pair[Colour, int]], [Pair(Colour.RED, 1)]),
    (dict[str, Contact], {"a": {"name": "b", "colour": Colour.RED}}),
    (collections.deque[Colour], collections.deque([Colour.RED], 3)),
    (frozenset[Place], frozenset({Place("Ulm"), Place("Bonn")})),
    (abc.Set[Colour], frozenset({Colour.RED})),
    (abc.Sequence[Colour], (Colour.RED,)),
    (Literal[Colour.RED], Colour.RED),
    (Size, Size.LARGE),
    (Odd, Odd.NEVER),
    (Old, Old.A),
    (Untyped, Untyped(1, [2])),
    (Box[float], Box(float("nan"))),
    (
        Everything,
        Everything(
            Box(Place("Ulm")), collections.deque([Colour.RED], 2), frozenset({Colour.RED}), pathlib.Path("a"),
            {"items": [Colour.RED]}, float("inf"),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), STORED, ids=[str(one[0]) for one in STORED])
def test_value_comes_back_by_its_annotation(annotation: Any, value: Any) -> None:
    stored = encode(value, annotation=annotation, is_restored=True)

    found = restore(decode(stored), annotation, "x")

    assert (repr(found), type(found)) == (repr(value), type(value))


def test_model_with_nan_comes_back_unless_it_forbids_it() -> None:
    import pydantic

    class Free(pydantic.BaseModel):
        rate: float

    class Finite(pydantic.BaseModel):
        rate: pydantic.FiniteFloat

    stored = encode(Free(rate=float("nan")), annotation=Free, is_restored=True)

    assert repr(restore(decode(stored), Free, "x")) == "Free(rate=nan)"
    with pytest.raises(UnsupportedType, match="should be a finite number"):
        encode(Finite.model_construct(rate=float("nan")), annotation=Finite, is_restored=True)


def test_generic_model_comes_back() -> None:
    import pydantic

    class Listing(pydantic.BaseModel, Generic[T]):
        items: list[T]

    value = Listing[datetime.date](items=[datetime.date(2026, 1, 2)])

    stored = encode(value, annotation=Listing[datetime.date], is_restored=True)

    assert restore(decode(stored), Listing[datetime.date], "x") == value
    assert bind_payload(with_parameter(Listing[datetime.date]), {"x": {"items": ["2026-01-02"]}})["x"] == value


def test_strict_model_reads_the_texts_of_json() -> None:
    import pydantic

    class Strict(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(strict=True)
        at: datetime.date

    assert bind_payload(with_parameter(Strict), {"x": {"at": "2026-01-02"}})["x"] == Strict(
        at=datetime.date(2026, 1, 2)
    )


def test_field_that_the_constructor_does_not_take_is_no_field_of_a_payload() -> None:
    @dataclasses.dataclass
    class Made:
        id: int
        made: int = dataclasses.field(default=7, init=False)

    function = with_parameter(Made)

    assert bind_payload(function, {"x": {"id": 1}})["x"] == Made(1)
    with pytest.raises(PayloadError, match="made: is not known here"):
        bind_payload(function, {"x": {"id": 1, "made": 2}})


def test_value_that_only_the_constructor_takes_is_read() -> None:
    @dataclasses.dataclass
    class Scaled:
        size: int
        factor: dataclasses.InitVar[int]
        unit: dataclasses.InitVar[str] = "m"

        def __post_init__(self, factor: int, unit: str) -> None:
            self.size *= factor

    function = with_parameter(Scaled)

    assert required_fields(Scaled) == {"size", "factor"}
    assert bind_payload(function, {"x": {"size": 2, "factor": 3}})["x"].size == 6
    with pytest.raises(UnsupportedType):
        encode(Scaled(2, 3), annotation=Scaled, is_restored=True)


def test_alias_is_what_it_stands_for() -> None:
    assert strip(Two[int]) == tuple[int, int]
    assert named_classes(Two[Colour]) == {Colour}


def test_alias_may_refer_to_itself() -> None:
    function = with_parameter(Json)

    schema = payload_schema(function)
    validator = jsonschema_rs.Draft202012Validator(schema)

    assert schema["properties"]["x"] == {"$ref": "#/$defs/Json"}
    assert validator.is_valid({"x": [1, [2]]})
    assert bind_payload(function, {"x": [1, ["red"]]})["x"] == [1, [Colour.RED]]
    assert not validator.is_valid({"x": [1, ["blue"]]})
    assert encode([Colour.RED], annotation=Json) == b'["red"]'


def test_annotation_with_an_unhashable_note_counts() -> None:
    annotation = list[Annotated[Box[Annotated[Colour, {"note": 1}]], {"note": 2}]]

    stored = encode([Box(Colour.RED)], annotation=annotation, is_restored=True)

    assert restore(decode(stored), annotation, "x") == [Box(Colour.RED)]
    assert bind_payload(with_parameter(annotation), {"x": [{"item": "red"}]})["x"] == [Box(Colour.RED)]
    assert named_classes(Literal[[]]) == frozenset()


def test_hints_of_a_generic_have_its_arguments() -> None:
    assert field_hints(Labelled[int])["item"] == Colour
    assert field_hints(Labelled[int])["label"] == (int | None)
    assert field_hints(Box)["item"] is T


@pytest.mark.parametrize("text", ["1e5", "10.10", "1.", ".5", "+1"])
def test_decimal_text_is_read(text: str) -> None:
    assert bind_payload(with_parameter(decimal.Decimal), {"x": text})["x"] == decimal.Decimal(text)


def test_schema_is_json() -> None:
    for annotation, *_ in READ:
        json.dumps(payload_schema(with_parameter(annotation)))
