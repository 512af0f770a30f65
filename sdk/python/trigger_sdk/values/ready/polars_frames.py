"""Frames and series of polars, in the Arrow format (IPC file), which keeps every dtype of theirs but Object."""

import io
from typing import Any

import polars as pl

from trigger_sdk.errors import UnsupportedType
from trigger_sdk.values import custom
from trigger_sdk.values.forms import ValueRefused
from trigger_sdk.values.ready.sizes import refuse_large


def _encode_frame(frame: Any) -> dict[str, Any]:
    for name, dtype in frame.schema.items():
        if dtype == pl.Object:
            message = f"the column {name!r} of dtype Object cannot be stored; cast it to another"
            raise ValueRefused(UnsupportedType, message)
    what = f"a frame of {frame.height:,} rows and {frame.width:,} columns"
    refuse_large(what, int(frame.estimated_size()))
    buffer = io.BytesIO()
    # In one chunk and not compressed: frames that are equal have equal texts, so none is saved again unchanged.
    frame.rechunk().write_ipc(buffer, compression="uncompressed")
    data = buffer.getvalue()
    refuse_large(what, len(data))
    return {"rows": frame.height, "columns": frame.columns, "data": data}


def _decode_frame(form: Any) -> Any:
    return pl.read_ipc(io.BytesIO(form["data"]))


def register_types() -> None:
    custom.register(pl.DataFrame, encode=_encode_frame, decode=_decode_frame, name="polars.DataFrame")
    custom.register(
        pl.Series,
        encode=lambda series: _encode_frame(series.to_frame()),
        decode=lambda form: _decode_frame(form).to_series(),
        name="polars.Series",
    )
    custom.hint("polars", {"LazyFrame": "convert it with .collect()"})
