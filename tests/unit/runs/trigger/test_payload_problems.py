"""What the server says about a payload that does not fit: the field's path and the reason, as the task would."""

import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from typing import Any, Literal

import pydantic
import pytest
from trigger_sdk.values.schema import payload_schema

from apps.http.errors import PayloadInvalid
from apps.runs.tasks.first_run import example_payload
from apps.runs.tasks.payload_schemas import check_schema
from apps.runs.trigger.payloads import validate_payload


class Size(enum.Enum):
    SMALL = (64, 64)
    LARGE = (1024, 768)


@dataclasses.dataclass
class Address:
    street: str
    zip: str
    since: datetime.date | None = None


class Order(pydantic.BaseModel):
    at: datetime.datetime
    email: str = pydantic.Field(default="a@b", pattern="@")
    price: decimal.Decimal = decimal.Decimal(0)
    rate: float = 0
    site: pydantic.HttpUrl | None = None
    seen: pydantic.AwareDatetime | None = None


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str


class Owner(pydantic.BaseModel):
    pet: Cat | Dog = pydantic.Field(discriminator="kind")


def task(
    name: str,
    when: datetime.datetime | None = None,
    day: datetime.date = datetime.date(2026, 1, 1),
    pause: datetime.timedelta | None = None,
    id: uuid.UUID | None = None,  # noqa: A002
    data: bytes | None = None,
    address: Address | None = None,
    order: Order | None = None,
    owner: Owner | None = None,
    size: Size = Size.SMALL,
    pair: tuple[int, str] | None = None,
    codes: dict[str, int | None] | None = None,
) -> None: ...


def refusal(payload: Any, function: Callable[..., Any] = task) -> PayloadInvalid:
    with pytest.raises(PayloadInvalid) as refused:
        validate_payload(payload, json.dumps(payload_schema(function)))
    return refused.value


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"when": "nope"}, "payload.when must be a date and time (ISO 8601) or null, not 'nope'"),
        (
            {"day": "2026-02-30"},
            "payload.day must be a date (ISO 8601), not '2026-02-30': day is out of range for month",
        ),
        ({"id": "xyz"}, "payload.id must be a UUID or null, not 'xyz': badly formed hexadecimal UUID string"),
        ({"pause": "5 minutes"}, "payload.pause must be a duration (ISO 8601) or null, not '5 minutes'"),
        ({"data": "***"}, "payload.data must be bytes as base64 text or null, not '***': Only base64 data is allowed"),
        ({"order": {"at": "nope"}}, "payload.order.at must be a date and time, not 'nope': Input should be a valid"),
        ({"order": {"at": "2026-01-01", "email": "ab"}}, 'payload.order.email: "ab" does not match "@"'),
        ({"order": {"at": "2026-01-01", "price": "NaN"}}, "payload.order.price must be a decimal number, not 'NaN'"),
        ({"order": {"at": "2026-01-01", "rate": 10**400}}, "payload.order.rate: "),
        (
            {"order": {"at": "2026-01-01", "site": "ftp://a"}},
            "payload.order.site must be a URL with http or https or null",
        ),
        (
            {"order": {"at": "2026-01-01", "seen": "2026-01-01"}},
            "payload.order.seen must be a date and time with a zone",
        ),
        ({"order": {}}, "payload.order.at is missing"),
        ({"address": {"street": "x"}}, "payload.address.zip is missing"),
        ({"address": {"street": "x", "zip": 1}}, "payload.address.zip must be a string, not 1"),
        (
            {"address": {"street": "x", "zip": "1", "since": "x"}},
            "payload.address.since must be a date (ISO 8601) or null",
        ),
        ({"address": {"street": "x", "zip": "1", "town": 2}}, "payload.address.town is not known here"),
        ({"address": 3}, "payload.address must be an object or null, not 3"),
        ({"owner": {"pet": {"kind": "cat"}}}, "payload.owner.pet.lives is missing"),
        ({"owner": {"pet": {"kind": "bird"}}}, "payload.owner.pet.kind must be 'cat' or 'dog', not 'bird'"),
        ({"size": [64, 65]}, "payload.size must be one of [64, 64], [1024, 768], not an array"),
        ({"pair": [1]}, "payload.pair must have at least 2 items, not 1; or must be null, not an array"),
        ({"pair": [1, "a", 2]}, "payload.pair[2] is one item too many"),
        ({"codes": {"a b": "x"}}, "payload.codes[\"a b\"] must be an integer or null, not 'x'"),
        ({"zip": 1}, "payload.zip is not a parameter of the task (it has name, when, day, pause, id, data, address"),
    ],
)
def test_field_is_named_with_the_reason(fields: dict[str, Any], said: str) -> None:
    assert str(refusal({"name": "a", **fields})).startswith(said)


def test_each_field_is_named_once() -> None:
    refused = refusal({"when": 1, "day": 2, "price": "x"})

    assert len(refused.errors) == 4
    assert {error.path for error in refused.errors} == {"payload.name", "payload.price", "payload.when", "payload.day"}


def test_task_without_parameters_names_what_it_was_given() -> None:
    def bare() -> None: ...

    assert str(refusal({"x": 1}, bare)) == "payload.x is not a parameter of the task (it has none)"


DEPLOYED_BEFORE = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "at": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "data": {"type": "string", "contentEncoding": "base64"},
        "price": {"type": ["string", "number"], "pattern": r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"},
        "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "new": {"type": "string", "x-text": "of a newer SDK"},
    },
    "required": [],
    "additionalProperties": False,
}


def test_schema_that_was_deployed_before_works_as_it_did() -> None:
    schema = json.dumps(DEPLOYED_BEFORE)
    check_schema(DEPLOYED_BEFORE)

    validate_payload({"at": "nope", "data": "***", "price": "1.50", "tags": ["a"], "new": "x"}, schema)

    for wrong in ({"at": 1}, {"price": "x"}, {"tags": ["a", "a"]}, {"new": 1}):
        with pytest.raises(PayloadInvalid):
            validate_payload(wrong, schema)


def test_example_payload_is_one_that_the_task_can_read() -> None:
    def sized(at: datetime.datetime, day: datetime.date, data: bytes, size: Size, pair: tuple[int, str]) -> None: ...

    assert example_payload(payload_schema(sized)) is not None
