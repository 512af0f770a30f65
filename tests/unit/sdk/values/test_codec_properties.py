"""The codec over generated values: what is stored comes back the same, and a refusal names the path.

A sample of each property on every change, 20,000 examples of it in the long tier.
"""

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trigger_sdk import errors
from trigger_sdk.values.codec import decode, encode, encode_entries
from trigger_sdk.values.shapes import restore
from trigger_sdk.values.strict_json import path_of

from tests.stored_values import keys, paths, same, scalars, text, values

T = TypeVar("T")
SAMPLE = 100
WHOLE = 20_000
Property = Callable[[Any], None]


def comes_back(value: Any) -> None:
    stored = encode(value)

    assert same(decode(stored), value)
    assert encode(decode(stored)) == stored


def is_plain_json(value: Any) -> None:
    json.loads(encode(value))


def is_the_same_in_parts(data: dict[str, Any]) -> None:
    depth = 2 if "$type" in data else 1

    assert encode_entries({key: encode(value, depth=depth) for key, value in data.items()}) == encode(data)


class Unknown:
    pass


BAD_LEAVES: list[tuple[Any, type[errors.CodecError]]] = [
    (Unknown(), errors.UnsupportedType),
    (collections.OrderedDict(), errors.UnsupportedType),
    (frozenset({1j}), errors.UnsupportedType),
    (bytearray(b"x"), errors.UnsupportedType),
    (1j, errors.UnsupportedType),
    (decimal.Decimal("NaN"), errors.NotFinite),
    (decimal.Decimal("sNaN123"), errors.NotFinite),
    (decimal.Decimal("-Infinity"), errors.NotFinite),
    ("a\0", errors.TextRefused),
    ("\ud800", errors.TextRefused),
    (10**4_300, errors.IntegerTooLong),
    ({1: 2}, errors.UnsupportedType),
    ({"\0": 2}, errors.TextRefused),
    ({(1, decimal.Decimal("NaN"))}, errors.NotFinite),
    (pathlib.Path("\ud800"), errors.TextRefused),
    (datetime.datetime(2026, 1, 1, tzinfo=type("Zone", (datetime.tzinfo,), {"utcoffset": lambda *_: None})()),
     errors.UnsupportedType),
]  # fmt: skip


@st.composite
def refused(draw: st.DrawFn) -> tuple[Any, list[str | int], type[errors.CodecError]]:
    """A value with one bad leaf, the keys and indices that lead to it, and the error it causes."""
    value, error = draw(st.sampled_from(BAD_LEAVES))
    path: list[str | int] = []
    for _ in range(draw(st.integers(0, 5))):
        before, after = draw(st.lists(scalars, max_size=2)), draw(st.lists(scalars, max_size=2))
        if draw(st.booleans()):
            key = draw(keys)
            others = draw(st.dictionaries(keys, scalars, max_size=2))
            others.pop(key, None)
            value = {**others, key: value}
            path.insert(0, key)
        else:
            value = draw(st.sampled_from([list, tuple]))([*before, value, *after])
            path.insert(0, len(before))
    return value, path, error


def is_refused_by_its_path(case: tuple[Any, list[str | int], type[errors.CodecError]]) -> None:
    value, path, error = case

    with pytest.raises(errors.CodecError) as refusal:
        encode(value)

    assert type(refusal.value) is error
    assert refusal.value.path == path_of(path)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: decimal.Decimal


class Corner(NamedTuple):
    at: Point
    size: float = 0.0


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: frozenset[T]


class Note(TypedDict):
    text: str
    by: NotRequired[Colour]


@dataclasses.dataclass
class Shape:
    name: str
    colour: Colour
    points: list[Point]
    born: datetime.date | None
    tags: set[str]
    corners: tuple[Point, ...]
    marks: dict[str, Point]
    known: set[Point]
    id: uuid.UUID
    corner: Corner
    box: Box[Colour]
    inner: Box[Point]
    queue: collections.deque[Corner]
    where: pathlib.PurePath
    note: Note
    weight: Annotated[float, "kg"]
    choice: Literal[Colour.RED, 1] | None
    array: Any


colours = st.sampled_from(Colour)
points = st.builds(Point, st.integers(), st.decimals(allow_nan=False, allow_infinity=False))
floats = st.floats(allow_nan=False)  # NaN is not equal to itself
corners = st.builds(Corner, points, floats)
shapes = st.builds(
    Shape, text, colours, st.lists(points, max_size=3), st.none() | st.dates(), st.sets(text, max_size=3),
    st.lists(points, max_size=2).map(tuple), st.dictionaries(text, points, max_size=2), st.sets(points, max_size=3),
    st.uuids(), corners, st.builds(Box, colours, st.frozensets(colours)), st.builds(Box, points, st.frozensets(points)),
    st.builds(collections.deque, st.lists(corners, max_size=2), st.sampled_from([None, 0, 1, 5])), paths,
    st.fixed_dictionaries({"text": text}, optional={"by": colours}), floats, st.sampled_from([Colour.RED, 1, None]),
    st.lists(floats, max_size=2).map(tuple) | st.just(1.5).map(numpy.float64),
)  # fmt: skip
ANNOTATION = dict[str, list[Shape]]


def comes_back_by_its_annotation(value: Any) -> None:
    stored = encode(value, annotation=ANNOTATION, is_restored=True)

    back = restore(decode(stored), ANNOTATION, "value")

    assert back == value
    assert encode(back, annotation=ANNOTATION) == stored


OBJECTS = st.dictionaries(text, st.lists(shapes, max_size=1), max_size=1)
PROPERTIES: dict[str, tuple[st.SearchStrategy[Any], Property]] = {
    "values come back equal in value and type": (values, comes_back),
    "stored text is plain JSON": (values, is_plain_json),
    "entries encoded apart are the text of the whole": (
        st.dictionaries(keys, values, max_size=4),
        is_the_same_in_parts,
    ),
    "what is refused is named by its path": (refused(), is_refused_by_its_path),
    "objects come back by their annotation": (OBJECTS, comes_back_by_its_annotation),
}


@pytest.mark.parametrize(
    ("strategy", "holds", "count"),
    [
        *((*case, SAMPLE) for case in PROPERTIES.values()),
        *(pytest.param(*case, WHOLE, marks=pytest.mark.long) for case in PROPERTIES.values()),
    ],
    ids=[*PROPERTIES, *(f"{name}, all" for name in PROPERTIES)],
)
def test_property_of_the_codec(strategy: st.SearchStrategy[Any], holds: Property, count: int) -> None:
    count = count // 4 if strategy is OBJECTS else count  # each takes as long as many values

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def examine(value: Any) -> None:
        holds(value)

    examine()
