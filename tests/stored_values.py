"""Values that the codec stores, as Hypothesis strategies, and what it means that one comes back the same."""

import datetime
import decimal
import math
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
keys = text | st.sampled_from(["$type", "value", "$", "zone", "fold", "name"])
offsets = st.timedeltas(datetime.timedelta(hours=-23, minutes=-59), datetime.timedelta(hours=23, minutes=59))
zones = st.one_of(
    st.none(),
    st.just(datetime.UTC),
    offsets.map(datetime.timezone),
    st.builds(datetime.timezone, offsets, text),
    st.timezones(),
    st.just(ZoneInfo("Europe/Berlin")),
)
integers = st.one_of(
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.builds(lambda digits, sign: sign * (10**digits - 1), st.integers(1, 4_300), st.sampled_from([1, -1])),
)
decimals = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False),
    st.builds(
        lambda sign, digits, exponent: decimal.Decimal((sign, digits, exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), max_size=40).map(tuple),
        st.integers(-100_000, 100_000),
    ),
)
scalars = st.one_of(
    st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), text, st.binary(),
    st.uuids(), decimals, st.dates(), st.timedeltas(),
    st.datetimes(timezones=zones), st.times(timezones=zones),
    st.builds(lambda moment: moment.replace(fold=1), st.datetimes(timezones=zones)),
)  # fmt: skip
hashables = st.recursive(
    st.one_of(st.integers(), text, st.dates(), decimals, st.uuids(), st.binary(), st.datetimes(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=3,
)
values = st.recursive(
    scalars | st.sets(hashables, max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4), st.lists(inner, max_size=4).map(tuple)
    ),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, at every depth; zone and fold of times, and all digits of numbers included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set):
        return one == other and sorted(map(repr, one)) == sorted(map(repr, other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return repr(one) == repr(other)
    if isinstance(one, decimal.Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)
