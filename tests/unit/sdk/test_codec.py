"""The codec: what is written is read back equal, and what cannot be stored is refused with its path."""

import dataclasses
import datetime
import decimal
import enum
import json
import math
import time
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trigger_sdk import codec, errors
from trigger_sdk.codec import decode, encode, encode_entries, parse_payload
from trigger_sdk.shapes import restore

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
keys = text | st.sampled_from(["$type", "value", "$"])
zones = st.sampled_from(
    [None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-3, seconds=7)), ZoneInfo("Europe/Berlin")]
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), text, st.binary(),
    st.uuids(), st.decimals(allow_nan=False, allow_infinity=False), st.dates(), st.timedeltas(),
    st.datetimes(timezones=zones), st.times(timezones=zones),
)  # fmt: skip
hashables = st.one_of(st.integers(), text, st.tuples(text, st.integers()), st.dates())
values = st.recursive(
    scalars | st.sets(hashables, max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, at every depth; the zone and fold of times included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return repr(one) == repr(other)
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@settings(deadline=None)
@given(value=values)
def test_values_come_back_equal_in_value_and_type(value: Any) -> None:
    stored = encode(value)

    assert same(decode(stored), value)
    assert encode(decode(stored)) == stored


@settings(deadline=None)
@given(value=values)
def test_stored_text_is_plain_json_that_any_reader_takes(value: Any) -> None:
    json.loads(encode(value))


@settings(deadline=None)
@given(st.dictionaries(keys, values, max_size=4))
def test_entries_encoded_apart_are_the_text_of_the_whole(data: dict[str, Any]) -> None:
    depth = 2 if "$type" in data else 1

    assert encode_entries({key: encode(value, depth=depth) for key, value in data.items()}) == encode(data)


def test_forms_are_those_of_the_contract() -> None:
    assert encode(decimal.Decimal("10.10")) == b'{"$type":"decimal","value":"10.10"}'
    assert encode({"$type": 1}) == b'{"$type":"dict","value":{"$type":1}}'
    assert encode({"f", "b", "e", "a", "d", "c"}) == b'{"$type":"set","value":["a","b","c","d","e","f"]}'
    assert encode(datetime.timedelta(days=-1, microseconds=1)) == b'{"$type":"timedelta","value":"-PT86399.999999S"}'
    assert encode(("é", b"\xff")) == '{"$type":"tuple","value":["é",{"$type":"bytes","value":"/w=="}]}'.encode()


@pytest.mark.parametrize("fold", [0, 1])
def test_time_in_the_repeated_hour_keeps_its_fold(fold: int) -> None:
    moment = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)

    restored = decode(encode(moment))

    assert (restored.fold, restored.utcoffset()) == (fold, moment.utcoffset())


class Custom:
    pass


class Number(enum.IntEnum):
    ONE = 1


class Words(list[str]):
    pass


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


@dataclasses.dataclass
class Order:
    id: int
    lines: list[Line]
    due: datetime.date | None = None


def nested(depth: int) -> Any:
    return [] if depth == 1 else [nested(depth - 1)]


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

REFUSED = [
    (Custom(), "$", errors.UnsupportedType, "Custom cannot be stored"),
    ({"order": {"client": Custom()}}, "$.order.client", errors.UnsupportedType, "Custom"),
    ({"a b": [0, {"ü": Custom()}]}, '$["a b"][1].ü', errors.UnsupportedType, "Custom"),
    ([Words()], "$[0]", errors.UnsupportedType, r"convert it with list\(…\)"),
    ([Number.ONE], "$[0]", errors.UnsupportedType, "Number"),
    ({"x": (1, {2.5: 1})}, "$.x[1]", errors.UnsupportedType, "key 2.5 is of type float"),
    ([Line("a", decimal.Decimal(1))], "$[0]", errors.UnsupportedType, "where an annotation names it"),
    ([frozenset()], "$[0]", errors.UnsupportedType, "frozenset"),
    ([lambda: 0], "$[0]", errors.UnsupportedType, "function"),
    ({"x": math.nan}, "$.x", errors.NotFinite, "nan"),
    ({"x": [-math.inf]}, "$.x[0]", errors.NotFinite, "-inf"),
    ([decimal.Decimal("NaN")], "$[0]", errors.NotFinite, "NaN"),
    ({"x": "a\0b"}, "$.x", errors.TextRefused, "NUL"),
    ({"x": {"a\0b": 1}}, "$.x", errors.TextRefused, "NUL"),
    (["ok", "\udc80"], "$[1]", errors.TextRefused, "lone surrogate"),
    ([10**4300], "$[0]", errors.IntegerTooLong, "4,300"),
    ([-(10**4300)], "$[0]", errors.IntegerTooLong, "4,300"),
    (nested(65), "$" + "[0]" * 64, errors.TooDeep, "64"),
    (CYCLE, "$" + "[0]" * 64, errors.TooDeep, "64"),
    ("x" * 2_999_999, "$", errors.TooLarge, "3,000,001 bytes are over the limit of 3,000,000"),
]


@pytest.mark.parametrize(("value", "path", "error", "part"), REFUSED)
def test_value_that_cannot_be_stored_is_refused_with_its_path(
    value: Any, path: str, error: type[errors.CodecError], part: str
) -> None:
    with pytest.raises(error, match=part) as refusal:
        encode(value)

    assert type(refusal.value) is error
    assert refusal.value.path == path


def test_values_at_the_limits_are_stored() -> None:
    for value in (nested(64), 10**4300 - 1, -(10**4300) + 1, "x" * 2_999_998):
        assert decode(encode(value)) == value


def test_depth_counts_the_wrap_of_a_dict_with_a_type_key() -> None:
    value = {"$type": nested(62)}

    assert decode(encode(value)) == value
    with pytest.raises(errors.TooDeep):
        encode({"$type": nested(63)})


@pytest.mark.parametrize("depth", [63, 64])
def test_depth_counts_the_stored_text(depth: int) -> None:
    value = (1,)
    for _ in range(depth - 2):
        value = [value]  # type: ignore[assignment]
    if depth == 64:
        assert decode(encode(value)) == value
        with pytest.raises(errors.TooDeep):
            encode([value])
    else:
        assert decode(encode([value])) == [value]


def test_too_large_data_names_its_largest_part() -> None:
    parts = {"small": b"1", "large part": b"1" * codec.MAX_VALUE_BYTES}

    with pytest.raises(errors.TooLarge, match=r'largest part is \$\["large part"\] with 3,000,000'):
        encode_entries(parts)


PAYLOADS = [
    (b'{"a":{"b":1,"b":2}}', "$.a", errors.DuplicateKey),
    (b'{"a":1,"\\u0061":2}', "$", errors.DuplicateKey),
    (b'{"a":[1,NaN]}', "$.a[1]", errors.NotFinite),
    (b"[-Infinity]", "$[0]", errors.NotFinite),
    (b'{"x":1e999}', "$.x", errors.NotFinite),
    (b'{"x":["\\u0000"]}', "$.x[0]", errors.TextRefused),
    (b'{"x\\u0000":1}', "$", errors.TextRefused),
    (b'{"x":"\\ud800"}', "$.x", errors.TextRefused),
    (b'{"x":"\\uDFFFa"}', "$.x", errors.TextRefused),
    (b'{"x":[0,' + b"9" * 4301 + b"]}", "$.x[1]", errors.IntegerTooLong),
    (b'{"x":-' + b"9" * 4301 + b"}", "$.x", errors.IntegerTooLong),
    (b"[" * 65 + b"]" * 65, "$" + "[0]" * 64, errors.TooDeep),
    (b'[0,{"a":[1,"}]",' + b"[" * 62 + b"]" * 62 + b"]}]", "$[1].a[2]" + "[0]" * 61, errors.TooDeep),
    (b"[" * 100_000, "$" + "[0]" * 64, errors.TooDeep),
    (b'{"a":' * 100_000, "$" + ".a" * 64, errors.TooDeep),
    (b'"' + b"x" * 2_999_999 + b'"', "$", errors.TooLarge),
]


@pytest.mark.parametrize(("payload", "path", "error"), PAYLOADS)
def test_payload_that_is_json_and_not_acceptable_is_refused_with_its_path(
    payload: bytes, path: str, error: type[errors.CodecError]
) -> None:
    with pytest.raises(error) as refusal:
        parse_payload(payload)

    assert refusal.value.path == path


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[1,]",
        b'{"a" 1}',
        b"'a'",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'"\x01"',
        b"01",
        b"{}{}",
        "{}".encode("utf-16"),
    ],
)
def test_payload_that_is_not_json_is_malformed(payload: bytes) -> None:
    with pytest.raises(errors.MalformedJson):
        parse_payload(payload)


def test_malformed_json_tells_its_place() -> None:
    with pytest.raises(errors.MalformedJson) as refusal:
        parse_payload(b'{\n  "a": }')

    assert (refusal.value.line, refusal.value.column) == (2, 8)


def test_payload_in_strings_is_not_taken_for_structure() -> None:
    brackets = "[{" * 100 + '\\"' + "[" * 100

    assert parse_payload(json.dumps([brackets]).encode()) == [brackets]
    assert parse_payload(b'["\\ud83d\\ude00", "\\\\u0000"]') == ["😀", "\\u0000"]


def test_long_digits_in_a_string_are_no_integer() -> None:
    payload = json.dumps(["9" * 5000, int("9" * 4300), -1]).encode()

    assert parse_payload(payload) == ["9" * 5000, int("9" * 4300), -1]


def test_payload_keeps_a_type_key_as_it_is() -> None:
    assert parse_payload(b'{"$type":"decimal","value":"1"}') == {"$type": "decimal", "value": "1"}


@pytest.mark.parametrize("tail", [b'\\"' * 1_000_000, b'"' * 1_000_001, b'"' + b"\\" * 1_000_001])
def test_hostile_text_costs_linear_time(tail: bytes) -> None:
    started = time.process_time()

    with pytest.raises(errors.MalformedJson):
        parse_payload(b"[" * 64 + b"]" * 64 + b"[" + tail)

    # A quadratic scan of a million characters takes minutes.
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("stored", "path", "part"),
    [
        (b'{"a":[{"$type":"money","value":1}]}', "$.a[0]", "'money' is unknown"),
        (b'{"$type":["x"],"value":1}', "$", "unknown"),
        (b'{"a":{"$type":"decimal","value":1.5}}', "$.a", "not a stored decimal"),
        (b'[{"$type":"date","value":"2026-13-01"}]', "$[0]", "not a stored date"),
        (b'[{"$type":"bytes","value":"!"}]', "$[0]", "not a stored bytes"),
        (b'[{"$type":"tuple","value":3}]', "$[0]", "a list is needed"),
        (b'[{"\\u0024type":"nope"}]', "$[0]", "unknown"),
    ],
)
def test_stored_text_with_a_wrong_form_is_refused_with_its_path(stored: bytes, path: str, part: str) -> None:
    with pytest.raises(errors.CodecError, match=part) as refusal:
        decode(stored)

    assert refusal.value.path == path


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


def test_problem_inside_a_dataclass_is_named_with_its_path() -> None:
    order = Order(1, [Line("a", Custom())])  # type: ignore[arg-type]

    with pytest.raises(errors.UnsupportedType) as refusal:
        encode(order, annotation=Order, at=("order",))

    assert refusal.value.path == "$.order.lines[0].price"


def test_uuid_and_bytes_as_they_are_stored() -> None:
    assert decode(encode(uuid.UUID(int=5))) == uuid.UUID(int=5)
    assert encode(b"") == b'{"$type":"bytes","value":""}'
