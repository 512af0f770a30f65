"""Annotations of task parameters and JSON for them, drawn at random: mostly right, and wrong in many small ways."""

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from collections import abc
from random import Random
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, Required, TypedDict, TypeVar

import pydantic
from hypothesis import strategies as st

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    ONE = 1
    HALF = 0.5
    YES = True
    NOTHING = None


class Size(enum.Enum):
    SMALL = (64, 64)
    LARGE = (1024, 768)
    ODD = {"a": [1.0]}


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Word(enum.StrEnum):
    YES = "yes"
    NO = "no"


class Named(str, enum.Enum):  # noqa: UP042 - the old way, whose str() is another text
    A = "a"


class Day(enum.Enum):
    FIRST = datetime.date(2026, 1, 1)
    PRICE = decimal.Decimal("1.50")


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.0


@dataclasses.dataclass
class Tree:
    at: datetime.datetime
    children: list["Tree"] = dataclasses.field(default_factory=list)
    made: int = dataclasses.field(default=0, init=False)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] | None = None


@dataclasses.dataclass
class Crate(Box[decimal.Decimal]):
    size: Size = Size.SMALL


class Contact(TypedDict):
    name: str
    phone: "NotRequired[str]"


class Partial(TypedDict, total=False):
    id: "Required[uuid.UUID]"
    at: datetime.time


class Pair(NamedTuple):
    key: str
    count: int = 1


class Couple(NamedTuple, Generic[T]):
    left: T
    right: T


class Order(pydantic.BaseModel):
    at: datetime.datetime
    day: datetime.date | None = None
    pause: datetime.timedelta = datetime.timedelta(0)
    id: uuid.UUID | None = None
    email: str = pydantic.Field(default="a@b", pattern="@")
    point: Point | None = None
    colour: Word = Word.YES
    price: decimal.Decimal = decimal.Decimal(0)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T] = pydantic.Field(max_length=2)
    link: pydantic.HttpUrl | None = None
    seen: pydantic.AwareDatetime | None = None


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True, extra="forbid")
    at: datetime.datetime
    id: uuid.UUID | None = None


MODELS = (Order, Page[int], Page[datetime.date], Strict)
OrderId = NewType("OrderId", str)
TEXTS: dict[Any, list[str]] = {
    datetime.datetime: ["2026-05-01T08:30:00Z", "2026-05-01", "20260501T083000", "2026-05-01T08:30:00+02:00"],
    datetime.date: ["2026-05-01", "2026-02-30", "2026-W01-1", "20260501"],
    datetime.time: ["08:30", "24:00", "083000", "08:30:00.5+01:00", "T08"],
    datetime.timedelta: ["PT90S", "P1DT2H", "-PT1.5S", "P", "PT", "P1Y", "5 minutes", "P" + "9" * 20 + "D"],
    uuid.UUID: ["00000000-0000-0000-0000-000000000007", "{" + "0" * 32 + "}", "urn:uuid:" + "0" * 32, "xyz"],
    bytes: ["AP8=", "", "***", "AP8", "é"],
    decimal.Decimal: [
        "10.10",
        "1e5",
        " 1",
        "1_0",
        "NaN",
        "Infinity",
        "١",  # noqa: RUF001
        "1e999999999999999999999",
        "1\n",
        ".5",
        "+1.",
    ],
    pathlib.Path: ["a/b", "", "/"],
}
ENUMS = (Colour, Size, Level, Word, Named, Day)
CLASSES = (Point, Tree, Crate, Contact, Partial, Pair, Box[int], Box[Word], Couple[datetime.date])
LITERALS = (Literal["a", 1], Literal[1.5], Literal[None, True, 0], Literal[Word.YES, Level.LOW], Literal["2026-05-01"])

leaves = st.sampled_from(
    [
        str,
        int,
        float,
        bool,
        None,
        Any,
        object,
        OrderId,
        Annotated[int, "unit"],
        *TEXTS,
        *ENUMS,
        *CLASSES,
        *LITERALS,
        *MODELS,
    ]
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    one = st.sampled_from(
        [list, set, frozenset, collections.deque, abc.Sequence, abc.Set, abc.Iterable, Box, Couple]
    )  # fmt: skip
    return st.one_of(
        st.builds(lambda kind, item: kind[item], one, inner),
        st.builds(lambda item: dict[str, item], inner),  # type: ignore[valid-type]
        st.builds(lambda item: tuple[item, ...], inner),  # type: ignore[valid-type]
        st.lists(inner, max_size=3).map(lambda items: tuple[tuple(items)] if items else tuple[()]),  # type: ignore[misc]
        st.lists(inner, min_size=2, max_size=3).map(lambda items: typing.Union[tuple(items)]),  # noqa: UP007
        inner.map(lambda item: typing.Optional[item]),  # noqa: UP045
        st.lists(inner, min_size=1, max_size=3).map(_made_dataclass),
    )


def _made_dataclass(annotations: list[Any]) -> Any:
    fields = [(f"f{number}", annotation) for number, annotation in enumerate(annotations)]
    return dataclasses.make_dataclass("Made", fields, frozen=len(fields) == 1)


annotations = st.recursive(leaves, _containers, max_leaves=5)

JUNK: list[Any] = [
    None, True, False, 0, 1, 1.0, 2, 0.5, -1.5, 1e300, 10**400, -(2**1024), 2**70, "", "1", "red", "yes",
    [], {}, [64, 64], [64.0, 64], {"a": [1]}, [1, 1.0, True], [[1]], {"x": 1}, {"x": 1, "z": 2},
    *(text for texts in TEXTS.values() for text in texts),
]  # fmt: skip


def json_for(random: Random, annotation: Any, depth: int = 0) -> Any:
    """JSON that fits an annotation; at each place, once in nine times, anything."""
    if depth > 5 or random.randrange(9) == 0:
        return _anything(random)
    annotation = _plain(annotation)
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)

    def inner(item: Any) -> Any:
        return json_for(random, item, depth + 1)

    if annotation in TEXTS:
        return random.choice(TEXTS[annotation])
    if origin in (typing.Union, types.UnionType):
        return inner(random.choice(arguments))
    if origin is Literal:
        return _form(random.choice(arguments))
    if annotation in ENUMS:
        return _form(random.choice(list(annotation)).value)
    if origin is dict:
        return {key: inner(arguments[1]) for key in random.sample("abc", random.randrange(3))}
    if origin is tuple and arguments[-1:] != (Ellipsis,):
        return [inner(item) for item in arguments] + ([1] if random.randrange(8) == 0 else [])
    if (hints := _fields(annotation)) is not None:
        return _entries(random, inner, origin, hints)
    if isinstance(origin, type) and issubclass(origin, abc.Iterable) and arguments:
        return [inner(arguments[0]) for _ in range(random.randrange(4))]
    return _single(random, annotation)


def _anything(random: Random) -> Any:
    if random.randrange(4):
        return random.choice(JUNK)
    texts = ("".join(random.choices("aä1-:TZ.+ ", k=random.randrange(7))), random.choice([*TEXTS.values()])[0][:-1])
    return random.choice([random.randint(-(10**20), 10**20), random.uniform(-1e9, 1e9), *texts])


def _single(random: Random, annotation: Any) -> Any:
    if annotation is str:
        return "".join(random.choices("aä1", k=random.randrange(4)))
    if annotation is int:
        return random.choice([random.randint(-(2**70), 2**70), float(random.randint(-9, 9))])
    if annotation is float:
        return random.choice([random.uniform(-9, 9), 1e308, random.randint(-9, 9)])
    if annotation is bool:
        return random.choice([True, False])
    return None if annotation in (None, type(None)) else _anything(random)


def _entries(random: Random, inner: Any, origin: Any, hints: dict[str, Any]) -> Any:
    if hasattr(origin, "_fields"):
        return [inner(hint) for hint in hints.values()][: len(hints) - random.randrange(2)]
    left_out = random.choice([None] * 4 + [*hints])
    entries = {name: inner(hint) for name, hint in hints.items() if name != left_out}
    return {**entries, "zz": 1} if random.randrange(16) == 0 else entries


def _plain(annotation: Any) -> Any:
    while typing.get_origin(annotation) in (Annotated, Required, NotRequired) or isinstance(annotation, NewType):
        annotation = annotation.__supertype__ if isinstance(annotation, NewType) else typing.get_args(annotation)[0]
    return annotation


def _fields(annotation: Any) -> dict[str, Any] | None:
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    is_class = isinstance(origin, type) and (
        dataclasses.is_dataclass(origin)
        or typing.is_typeddict(origin)
        or hasattr(origin, "_fields")
        or origin in MODELS
    )
    if not is_class:
        return None
    hints = typing.get_type_hints(origin, include_extras=True)
    hints = {name: arguments[0] if hint is T and arguments else hint for name, hint in hints.items()}
    return {name: hint for name, hint in hints.items() if name != "model_config"}


def _form(value: Any) -> Any:
    value = value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, (str, int, float, bool, type(None), dict)) else str(value)
