"""Values that the codec stores, as Hypothesis strategies, and what it means that one comes back the same."""

import collections
import datetime
import decimal
import pathlib
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
paths = st.builds(
    lambda kind, name: kind(name),
    st.sampled_from([pathlib.Path, pathlib.PurePosixPath, pathlib.PureWindowsPath]), st.text("aä/\\.: ", max_size=8),
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), integers, st.floats(), text, st.binary(), st.uuids(), decimals,
    st.dates(), st.timedeltas(), paths,
    st.datetimes(timezones=zones), st.times(timezones=zones),
    st.builds(lambda moment: moment.replace(fold=1), st.datetimes(timezones=zones)),
)  # fmt: skip
hashables = st.recursive(
    st.one_of(st.integers(), text, st.dates(), decimals, st.uuids(), st.binary(), st.datetimes(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=3,
)
sets = st.sets(hashables, max_size=4) | st.frozensets(hashables, max_size=4)
values = st.recursive(
    scalars | sets,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.builds(collections.deque, st.lists(inner, max_size=4), st.none() | st.integers(0, 5)),
    ),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    """Equal in value and in type, at every depth; zone and fold of times, and all digits of numbers included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple, collections.deque)):
        is_as_long = (len(one), getattr(one, "maxlen", 0)) == (len(other), getattr(other, "maxlen", 0))
        return is_as_long and all(map(same, one, other))
    if isinstance(one, (set, frozenset)):
        return one == other and sorted(map(_members_in_order, one)) == sorted(map(_members_in_order, other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return repr(one) == repr(other)
    if isinstance(one, decimal.Decimal):
        return one.as_tuple() == other.as_tuple()
    if isinstance(one, float):
        return repr(one) == repr(other)
    return bool(one == other)


def _members_in_order(value: Any) -> str:
    """The text of a member of a set; sets inside it have no order of their own."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_members_in_order, value))})"
    return f"({list(map(_members_in_order, value))})" if isinstance(value, tuple) else repr(value)
