"""Frames, series and indexes of pandas, column by column: numbers as numpy arrays, other items as lists of values.

What would come back as another frame is refused, so each is built again before it is stored.
"""

from typing import Any

import numpy as np
import pandas as pd

from trigger_sdk.errors import UnsupportedType
from trigger_sdk.values import custom
from trigger_sdk.values.forms import ValueRefused
from trigger_sdk.values.ready.sizes import refuse_large


def _encode_frame(frame: Any) -> dict[str, Any]:
    numeric = sum(int(size) for dtype, size in zip(frame.dtypes, frame.memory_usage(index=False), strict=True)
                  if isinstance(dtype, np.dtype) and dtype.kind != "O")  # fmt: skip
    refuse_large(f"a frame of {len(frame):,} rows and {len(frame.columns):,} columns", numeric)
    form = {
        "columns": _encode_index(frame.columns, "the column labels"),
        "index": _encode_index(frame.index, "the index"),
        "data": [
            _encode_items(frame.iloc[:, number].array, f"the column {label!r}")
            for number, label in enumerate(frame.columns)
        ],
    }
    back = _decode_frame(form)
    if not (back.equals(frame) and list(back.dtypes) == list(frame.dtypes)):
        raise ValueRefused(UnsupportedType, "this frame would come back different; convert it with .to_dict('records')")
    return form


def _decode_frame(form: Any) -> Any:
    index = _decode_index(form["index"])
    series = [_series(items, index) for items in form["data"]]
    frame = pd.DataFrame(dict(enumerate(series)), index=index)
    frame.columns = _decode_index(form["columns"])
    return frame


def _encode_series(series: Any) -> dict[str, Any]:
    form = {
        "name": series.name,
        "index": _encode_index(series.index, "the index"),
        "data": _encode_items(series.array, "the series"),
    }
    back = _decode_series(form)
    if not (back.equals(series) and back.dtype == series.dtype):
        raise ValueRefused(UnsupportedType, "this series would come back different; convert it with .to_list()")
    return form


def _decode_series(form: Any) -> Any:
    return _series(form["data"], _decode_index(form["index"]), form["name"])


def _series(form: Any, index: Any, name: Any = None) -> Any:
    items = _decode_items(form)
    # With its dtype, because pandas takes an array of objects that are all texts for another.
    return pd.Series(items, index=index, name=name, dtype=items.dtype)


def _encode_index(index: Any, what: str) -> dict[str, Any]:
    if isinstance(index, pd.MultiIndex):
        raise ValueRefused(UnsupportedType, f"{what} has several levels, which cannot be stored; use .reset_index()")
    if isinstance(index, pd.RangeIndex):
        return {"name": index.name, "range": [index.start, index.stop, index.step]}
    form = {"name": index.name, "data": _encode_items(index.array, what)}
    freq = getattr(index, "freqstr", None)
    return form if freq is None else {**form, "freq": freq}


def _decode_index(form: Any) -> Any:
    if "range" in form:
        return pd.RangeIndex(*form["range"], name=form["name"])
    items = _decode_items(form["data"])
    index = pd.Index(items, name=form["name"], dtype=items.dtype)
    if "freq" in form:
        index.freq = form["freq"]
    return index


def _encode_items(items: Any, what: str) -> dict[str, Any]:
    dtype = items.dtype
    if isinstance(dtype, (pd.DatetimeTZDtype, np.dtype)) or type(dtype).__name__ == "NumpyEADtype":
        return _encode_plain(items)
    if isinstance(dtype, pd.CategoricalDtype):
        codes, ordered = np.asarray(items.codes), bool(items.ordered)
        categories = _encode_index(items.categories, f"the categories of {what}")
        return {"dtype": "category", "codes": codes, "categories": categories, "ordered": ordered}
    if isinstance(dtype, pd.StringDtype):
        texts = [None if is_missing else text for text, is_missing in zip(items, items.isna(), strict=True)]
        na = "NA" if dtype.na_value is pd.NA else "nan"
        return {"dtype": "string", "storage": dtype.storage, "na": na, "items": texts}
    if hasattr(dtype, "numpy_dtype") and hasattr(items, "to_numpy"):
        data = items.to_numpy(dtype=dtype.numpy_dtype, na_value=0)
        return {"dtype": str(dtype), "data": data, "missing": np.asarray(items.isna())}
    message = f"{what} of dtype {dtype} cannot be stored; convert it with .astype(str)"
    raise ValueRefused(UnsupportedType, message)


def _encode_plain(items: Any) -> dict[str, Any]:
    if isinstance(items.dtype, pd.DatetimeTZDtype):
        return {"dtype": str(items.dtype), "data": np.asarray(items.asi8)}
    data: Any = np.asarray(items)
    return {"dtype": "object", "items": data.tolist()} if data.dtype.hasobject else {"data": data}


def _decode_items(form: Any) -> Any:
    match form.get("dtype"):
        case None:
            return form["data"]
        case "object":
            return _objects(form["items"])
        case "category":
            categories = _decode_index(form["categories"])
            return pd.Categorical.from_codes(form["codes"], categories=categories, ordered=form["ordered"])
        case "string":
            missing = pd.NA if form["na"] == "NA" else np.nan
            return pd.array(form["items"], dtype=pd.StringDtype(form["storage"], na_value=missing))
        case str(dtype) if "missing" in form:
            items = pd.array(form["data"], dtype=dtype)
            items[form["missing"]] = pd.NA
            return items
        case dtype:
            zone = pd.api.types.pandas_dtype(dtype)
            moments = pd.DatetimeIndex(form["data"].view(f"M8[{zone.unit}]"), tz="UTC")
            return moments.tz_convert(zone.tz).array


def _objects(items: list[Any]) -> Any:
    data: Any = np.empty(len(items), dtype=object)
    for at, item in enumerate(items):  # one by one, because numpy would look into lists
        data[at] = item
    return data


def register_types() -> None:
    custom.register(pd.DataFrame, encode=_encode_frame, decode=_decode_frame, name="pandas.DataFrame")
    custom.register(pd.Series, encode=_encode_series, decode=_decode_series, name="pandas.Series")
    custom.hint(
        "pandas",
        {
            "Timestamp": "convert it with .to_pydatetime()",
            "Timedelta": "convert it with .to_pytimedelta()",
            "Index": "convert it with .to_list()",
            "RangeIndex": "convert it with list(…)",
            "DatetimeIndex": "convert it with .to_series()",
            "NaTType": "store None instead",
            "NAType": "store None instead",
        },
    )
