"""Arrays and frames of numpy, pandas and polars: they come back the same, or are refused with what to do instead."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from trigger_sdk import errors
from trigger_sdk.values.codec import MAX_VALUE_BYTES, decode, encode

SCALARS = [
    np.float64(1.5), np.float64("nan"), np.float64("-inf"), np.float32(0.1), np.float16(0.5), np.int64(-5),
    np.longlong(4), np.uint8(3), np.bool_(True), np.str_("aä"), np.bytes_(b"ab"), np.bytes_(b""),
    np.datetime64("2026-01-01T00:00", "ms"), np.datetime64("NaT"), np.timedelta64(5, "s"), np.complex128(1 + 2j),
]  # fmt: skip

ARRAYS = [
    np.arange(6).reshape(2, 3), np.array(3.0), np.zeros((0, 3)), np.array(["a", "bb"]),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.array([1, 2], dtype=">i4"), np.array([np.nan, -0.0]),
    np.arange(10)[::2], np.arange(10)[::-1], np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    np.array(["2026"], dtype="M8[D]"), np.array([True]), np.array([1j]), np.array([b"a", b"bc"]),
]  # fmt: skip

MIXED = pd.DataFrame(
    {
        "integer": [1, 2],
        "float": [1.5, float("nan")],
        "text": ["a", None],
        "moment": pd.to_datetime(["2026-01-01", None]),
        "zoned": pd.to_datetime(["2026-01-01", None]).tz_localize("Europe/Berlin"),
        "category": pd.Categorical(["a", None], categories=["b", "a"], ordered=True),
        "nullable": pd.array([1, None], dtype="Int64"),
        "nullable_float": pd.array([1.5, None], dtype="Float64"),
        "flag": pd.array([True, None], dtype="boolean"),
        "string": pd.array(["a", None], dtype="string"),
        "objects": pd.Series([[1, 2], {"a": datetime.date(2026, 1, 1)}], dtype=object),
        "texts": pd.Series(["a", "b"], dtype=object),
        "lasting": pd.to_timedelta([1, 2], unit="s"),
    }
)

FRAMES = [
    MIXED, MIXED.set_index("moment"), MIXED.set_index("text"), MIXED.set_index("category"), MIXED.iloc[::-1],
    pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame([[1, 2]]),
    pd.DataFrame(index=[1, 2]), pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="key")),
]  # fmt: skip
SERIES = [
    *(MIXED[name] for name in MIXED.columns), pd.Series([1.5], name=("a", 1)), pd.Series([], dtype="float64"),
    pd.Series([1, 2, 3], index=pd.date_range("2026-01-01", periods=3, freq="D")),
]  # fmt: skip

POLARS = pl.DataFrame(
    {
        "integer": [1, None],
        "text": ["a", "ä"],
        "moment": [datetime.datetime(2026, 1, 1)] * 2,  # noqa: DTZ001
        "zoned": [datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * 2,
        "list": [[1], [2, 3]],
        "struct": [{"a": 1}] * 2,
        "decimal": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
        "category": pl.Series(["a", "b"], dtype=pl.Categorical),
        "enum": pl.Series(["a", "b"], dtype=pl.Enum(["b", "a"])),
        "float": [float("nan"), 1.0],
        "binary": [b"\0", b""],
    }
)


def comes_back(value: Any) -> Any:
    stored = encode({"deep": [value]})

    found = decode(stored)["deep"][0]

    assert type(found) is type(value)
    assert encode({"deep": [found]}) == stored
    return found


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_scalar_comes_back(value: Any) -> None:
    found = comes_back(value)

    assert found.dtype == value.dtype
    assert found == value or (found != found and value != value)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}-{array.shape}")
def test_array_comes_back(array: Any) -> None:
    found = comes_back(array)

    np.testing.assert_array_equal(found, array, strict=True)
    assert (found.dtype, found.flags.writeable) == (array.dtype, True)
    assert found.flags.f_contiguous or not array.flags.f_contiguous or array.flags.c_contiguous


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: f"{frame.index.name}-{frame.shape}")
def test_frame_of_pandas_comes_back(frame: Any) -> None:
    pd.testing.assert_frame_equal(comes_back(frame), frame, check_exact=True, check_freq=True)


@pytest.mark.parametrize("series", SERIES, ids=lambda series: str(series.dtype))
def test_series_of_pandas_comes_back(series: Any) -> None:
    pd.testing.assert_series_equal(comes_back(series), series, check_exact=True, check_freq=True)


@pytest.mark.parametrize(
    "frame", [POLARS, POLARS.clear(), pl.DataFrame(), POLARS[1:], pl.concat([POLARS[:1], POLARS[1:]], rechunk=False)]
)
def test_frame_of_polars_comes_back(frame: Any) -> None:
    found = comes_back(frame)

    assert found.equals(frame)
    assert found.schema == frame.schema


@pytest.mark.parametrize("name", POLARS.columns)
def test_series_of_polars_comes_back(name: str) -> None:
    found = comes_back(POLARS[name])

    assert found.equals(POLARS[name], check_names=True, check_dtypes=True)


REFUSED = [
    (np.array([object()]), errors.UnsupportedType, r"dtype object cannot be stored; convert it with \.tolist\(\)"),
    (np.zeros(3, dtype=[("a", "i4")]), errors.UnsupportedType, r"convert it with \.tolist\(\)"),
    (np.ma.array([1]), errors.UnsupportedType, r"MaskedArray cannot be stored; convert it with \.filled\(…\)"),
    (np.longdouble(1), errors.UnsupportedType, r"convert it with \.astype\(numpy\.float64\)"),
    (np.zeros(300_000), errors.TooLarge, r"array float64 of shape \(300000,\) has 2,400,000 .* limit is 3,000,000"),
    (MIXED.set_index(["integer", "text"]), errors.UnsupportedType, r"the index has several levels.*\.reset_index\(\)"),
    (pd.DataFrame({"p": pd.period_range("2026-01", periods=2, freq="M")}), errors.UnsupportedType,
     r"the column 'p' of dtype period\[M\] cannot be stored; convert it with \.astype\(str\)"),
    (pd.DataFrame({"x": [object()]}), errors.UnsupportedType, r"inside the DataFrame, at \$\.data\[0\]\.items"),
    (pd.DataFrame({"a": np.zeros(300_000)}), errors.TooLarge, "a frame of 300,000 rows and 1 columns has 2,400,000"),
    (pd.Timestamp("2026"), errors.UnsupportedType, r"convert it with \.to_pydatetime\(\)"),
    (pd.NaT, errors.UnsupportedType, "store None instead"),
    (pd.Index([1]), errors.UnsupportedType, r"convert it with \.to_list\(\)"),
    (POLARS.lazy(), errors.UnsupportedType, r"convert it with \.collect\(\)"),
    (pl.DataFrame({"o": [object()]}, schema={"o": pl.Object}), errors.UnsupportedType, "column 'o' of dtype Object"),
    (pl.DataFrame({"a": np.zeros(300_000)}), errors.TooLarge, "a frame of 300,000 rows and 1 columns has 2,400,000"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "error", "part"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
def test_what_cannot_be_stored_says_what_to_do(value: Any, error: type[errors.CodecError], part: str) -> None:
    with pytest.raises(error, match=part) as refusal:
        encode({"a": [value]})

    assert refusal.value.path == "$.a[0]"


@pytest.mark.parametrize(
    "mended",
    [
        np.array([1, "a"], dtype=object).tolist(), np.zeros(2, dtype=[("a", "i4")]).tolist(),
        np.ma.array([1], mask=[True]).filled(0), np.longdouble(1).astype(np.float64),
        MIXED.set_index(["integer", "text"]).reset_index(),
        pd.DataFrame({"p": pd.period_range("2026-01", periods=2, freq="M").astype(str)}),
        pd.Timestamp("2026").to_pydatetime(), pd.Timedelta("1s").to_pytimedelta(), pd.Index([1]).to_list(),
        POLARS.lazy().collect(),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_advice_is_accepted(mended: Any) -> None:
    comes_back(mended)


def test_array_just_below_the_limit_is_stored() -> None:
    array = np.arange(MAX_VALUE_BYTES * 3 // 4 // 8 - 20, dtype=np.float64)

    assert (decode(encode(array)) == array).all()


@pytest.mark.parametrize(
    "form",
    [
        b'{"$type":"numpy.array","value":{"dtype":"<f8","shape":[2],"data":{"$type":"bytes","value":"AAAA"}}}',
        b'{"$type":"numpy.array","value":{"dtype":"O","shape":[1],"data":{"$type":"bytes","value":"AAAAAAAAAAA="}}}',
        b'{"$type":"numpy.array","value":3}',
        b'{"$type":"pandas.DataFrame","value":{}}',
        b'{"$type":"polars.DataFrame","value":{"data":{"$type":"bytes","value":"AAAA"}}}',
    ],
)
def test_form_that_was_changed_by_hand_is_refused_with_its_path(form: bytes) -> None:
    with pytest.raises(errors.CodecError, match="cannot read it") as refusal:
        decode(b'{"a":' + form + b"}")

    assert refusal.value.path == "$.a"
