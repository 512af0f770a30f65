"""The codec: what is written is read back equal, and what cannot be stored is refused with its path."""

import collections
import dataclasses
import datetime
import decimal
import enum
import io
import json
import math
import pathlib
import time
import uuid
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from trigger_sdk import errors
from trigger_sdk.values import codec
from trigger_sdk.values.codec import decode, encode, encode_entries, parse_payload


def test_forms_are_those_of_the_contract() -> None:
    assert encode(decimal.Decimal("10.10")) == b'{"$type":"decimal","value":"10.10"}'
    assert encode({"$type": 1}) == b'{"$type":"dict","value":{"$type":1}}'
    assert encode({"f", "b", "e", "a", "d", "c"}) == b'{"$type":"set","value":["a","b","c","d","e","f"]}'
    assert encode(datetime.timedelta(days=-1, microseconds=1)) == b'{"$type":"timedelta","value":"-PT86399.999999S"}'
    assert encode(("é", b"\xff")) == '{"$type":"tuple","value":["é",{"$type":"bytes","value":"/w=="}]}'.encode()


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (math.nan, b'{"$type":"float","value":"nan"}'),
        ([-math.inf, math.inf], b'[{"$type":"float","value":"-inf"},{"$type":"float","value":"inf"}]'),
        (frozenset({2, 1}), b'{"$type":"frozenset","value":[1,2]}'),
        (collections.deque([1, 2], 2), b'{"$type":"deque","value":[1,2],"maxlen":2}'),
        (collections.deque(), b'{"$type":"deque","value":[]}'),
        (pathlib.Path("a") / "b", b'{"$type":"path","value":"a/b"}'),
        (pathlib.PureWindowsPath("c:/a"), b'{"$type":"windows_path","value":"c:\\\\a"}'),
    ],
)
def test_python_values_that_json_lacks_have_forms_of_their_own(value: Any, stored: bytes) -> None:
    assert encode(value) == stored
    assert repr(decode(stored)) == repr(value)


def test_advice_for_a_text_of_a_class_gives_the_text_itself() -> None:
    with pytest.raises(errors.UnsupportedType):
        encode(Loud("a"))

    assert (type(str.__str__(Loud("a"))), str.__str__(Loud("a"))) == (str, "a")


@pytest.mark.parametrize("fold", [0, 1])
def test_time_in_the_repeated_hour_keeps_its_fold(fold: int) -> None:
    moment = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)

    restored = decode(encode(moment))

    assert (restored.fold, restored.utcoffset()) == (fold, moment.utcoffset())


NOON = datetime.datetime(2026, 7, 1, 12, tzinfo=datetime.UTC)
BERLIN = ZoneInfo("Europe/Berlin")
NAMED = datetime.timezone(datetime.timedelta(hours=1), "CET")


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (NOON.replace(tzinfo=None), b'"2026-07-01T12:00:00"'),
        (NOON, b'"2026-07-01T12:00:00+00:00"'),
        (NOON.replace(tzinfo=BERLIN), b'"2026-07-01T12:00:00+02:00","zone":"Europe/Berlin"'),
        (NOON.replace(tzinfo=NAMED), b'"2026-07-01T12:00:00+01:00","name":"CET"'),
        (NOON.replace(tzinfo=None, fold=1), b'"2026-07-01T12:00:00","fold":1'),
    ],
)
def test_times_are_stored_with_all_that_they_know_of_their_zone(value: datetime.datetime, stored: bytes) -> None:
    assert encode(value) == b'{"$type":"datetime","value":' + stored + b"}"
    assert repr(decode(encode(value))) == repr(value)


def test_offset_below_a_second_is_not_taken_for_utc() -> None:
    value = datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(microseconds=-5)))

    assert repr(decode(encode(value))) == repr(value)


def test_decimal_is_stored_the_same_whatever_the_thread_has_set() -> None:
    value = decimal.Decimal("1E+5")

    with decimal.localcontext(capitals=0):
        stored = encode(value)

    assert stored == b'{"$type":"decimal","value":"1E+5"}'


class Custom:
    pass


class Rule(datetime.tzinfo):
    def utcoffset(self, moment: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(hours=1)


class Number(enum.IntEnum):
    ONE = 1


class Words(list[str]):
    pass


class Shade(str, enum.Enum):  # noqa: UP042 - the old way, whose str() is another text
    RED = "red"


class Place(NamedTuple):
    floor: int


class Quiet(str):
    __slots__ = ()


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


def nested(depth: int) -> Any:
    return [] if depth == 1 else [nested(depth - 1)]


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

REFUSED = [
    (Custom(), "$", errors.UnsupportedType, "Custom cannot be stored"),
    ({"order": {"client": Custom()}}, "$.order.client", errors.UnsupportedType, "Custom"),
    ({"a b": [0, {"ü": Custom()}]}, '$["a b"][1].ü', errors.UnsupportedType, "Custom"),
    ([Words()], "$[0]", errors.UnsupportedType, r"convert it with list\(…\)"),
    ([Number.ONE], "$[0]", errors.UnsupportedType, r"Number cannot be stored unless an annotation names it: store its"),
    (
        [Shade.RED],
        "$[0]",
        errors.UnsupportedType,
        r"`\.value`, or annotate .* \(`name: Shade = …`\), .* \(`-> Shade`\)",
    ),
    ([Place(1)], "$[0]", errors.UnsupportedType, r"in front of a step \(`name: Place = …`\)"),
    ([Loud("a")], "$[0]", errors.UnsupportedType, r"convert it with str\.__str__\(…\)"),
    ([Quiet("a")], "$[0]", errors.UnsupportedType, r"convert it with str\(…\)"),
    ([collections.Counter("a")], "$[0]", errors.UnsupportedType, r"convert it with dict\(…\)"),
    ([range(3)], "$[0]", errors.UnsupportedType, r"a range cannot be stored; convert it with list\(…\)"),
    ({"x": {}.keys()}, "$.x", errors.UnsupportedType, r"convert it with list\(…\)"),
    ([bytearray(b"a")], "$[0]", errors.UnsupportedType, r"convert it with bytes\(…\)"),
    ([io.StringIO()], "$[0]", errors.UnsupportedType, "save its path or content, and open it again"),
    ([1j], "$[0]", errors.UnsupportedType, r"with trigger_sdk\.codec\.register\(…\)"),
    ({"x": (1, {2.5: 1})}, "$.x[1]", errors.UnsupportedType, "key 2.5 is of type float"),
    ([Line("a", decimal.Decimal(1))], "$[0]", errors.UnsupportedType, "unless an annotation names it"),
    ([pathlib.Path("a\0")], "$[0]", errors.TextRefused, "the path .* NUL"),
    ([pathlib.Path("\udc80")], "$[0]", errors.TextRefused, "the path .* lone surrogate"),
    ([lambda: 0], "$[0]", errors.UnsupportedType, "function"),
    ([decimal.Decimal("NaN")], "$[0]", errors.NotFinite, "NaN"),
    ({"x": {(1, Place(1))}}, "$.x", errors.UnsupportedType, "in a member of this set: a .*Place cannot"),
    ({"x": collections.deque([Custom()])}, "$.x[0]", errors.UnsupportedType, "Custom"),
    ([datetime.datetime(2026, 1, 1, tzinfo=Rule())], "$[0]", errors.UnsupportedType, r"Rule cannot.*ZoneInfo\(…\)"),
    ([datetime.time(1, tzinfo=datetime.timezone(datetime.timedelta(0), "\0"))], "$[0]", errors.TextRefused, "NUL"),
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


def test_long_digits_in_a_string_are_not_an_integer() -> None:
    payload = json.dumps(["9" * 5000, int("9" * 4300), -1]).encode()

    assert parse_payload(payload) == ["9" * 5000, int("9" * 4300), -1]


def test_payload_keeps_a_type_key_as_it_is() -> None:
    assert parse_payload(b'{"$type":"decimal","value":"1"}') == {"$type": "decimal", "value": "1"}


@pytest.mark.parametrize(
    "tail",
    [b'\\"' * 1_000_000, b'"' * 1_000_001, b'"' + b"\\" * 1_000_001, b'"' + b'\\"' * 1_000_000 + b"\\"],
)
def test_hostile_text_costs_linear_time(tail: bytes) -> None:
    started = time.process_time()

    with pytest.raises(errors.MalformedJson):
        parse_payload(b"[" * 64 + b"]" * 64 + b"[" + tail)

    # A quadratic scan of a million characters takes minutes.
    assert time.process_time() - started < 5


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_many_integers_just_below_the_limit_cost_linear_time(quote: bytes) -> None:
    text = b"[" + b",".join([quote + b"1" * 4_250 + quote] * 700) + b"]"
    started = time.process_time()

    assert len(parse_payload(text)) == 700

    # Searching for long digits from each digit takes 15 seconds.
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("stored", "path", "part"),
    [
        (b'{"a":[{"$type":"money","value":1}]}', "$.a[0]", "'money' is unknown"),
        (b'{"$type":["x"],"value":1}', "$", "unknown"),
        (b'{"a":{"$type":"decimal","value":1.5}}', "$.a", "not a stored decimal"),
        (b'[{"$type":"decimal","value":"NaN"}]', "$[0]", "not finite"),
        (b'[{"$type":"set","value":[[1]]}]', "$[0]", "unhashable"),
        (b'[{"$type":"datetime","value":"2026-01-01","zone":"Nowhere/Else"}]', "$[0]", "not a stored datetime"),
        (b'[{"$type":"date","value":"2026-13-01"}]', "$[0]", "not a stored date"),
        (b'[{"$type":"bytes","value":"!"}]', "$[0]", "not a stored bytes"),
        (b'[{"$type":"tuple","value":3}]', "$[0]", "must be a list"),
        (b'[{"\\u0024type":"nope"}]', "$[0]", "unknown"),
        (b'[{"$type":"float","value":"1.5"}]', "$[0]", "must be nan, inf or -inf"),
        (b'[{"$type":"path","value":1}]', "$[0]", "not a stored path"),
        (b'[{"$type":"deque","value":[1],"maxlen":-1}]', "$[0]", "not a stored deque"),
        (b'[{"$type":"frozenset","value":[[1]]}]', "$[0]", "unhashable"),
    ],
)
def test_stored_text_with_a_wrong_form_is_refused_with_its_path(stored: bytes, path: str, part: str) -> None:
    with pytest.raises(errors.CodecError, match=part) as refusal:
        decode(stored)

    assert refusal.value.path == path


def test_uuid_and_bytes_as_they_are_stored() -> None:
    assert decode(encode(uuid.UUID(int=5))) == uuid.UUID(int=5)
    assert encode(b"") == b'{"$type":"bytes","value":""}'
