"""Arrays and scalars of numpy: the dtype as numpy spells it (`<f8`), the shape, and the bytes as they are in memory.

Arrays of Python objects, masked arrays and structured dtypes have no such bytes and are refused.
"""

from typing import Any

import numpy as np

from trigger_sdk.errors import UnsupportedType
from trigger_sdk.values import custom
from trigger_sdk.values.forms import ValueRefused
from trigger_sdk.values.ready.sizes import refuse_large

_AS_JSON = "biuf"
"""Kinds of scalars that JSON holds exactly."""


def encode_array(array: Any) -> dict[str, Any]:
    if array.dtype.hasobject or array.dtype.names is not None:
        message = f"an array of dtype {array.dtype} cannot be stored; convert it with .tolist()"
        raise ValueRefused(UnsupportedType, message)
    _refuse_padded(array.dtype)
    refuse_large(f"an array {array.dtype} of shape {array.shape}", array.nbytes)
    form = {"dtype": array.dtype.str, "shape": list(array.shape), "data": array.tobytes(order="A")}
    # `order="A"` is the order in memory: sums of floats depend on it.
    is_fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return {**form, "order": "F"} if is_fortran else form


def decode_array(form: Any) -> Any:
    flat = np.frombuffer(form["data"], dtype=np.dtype(form["dtype"]))
    # Copied, because a buffer of bytes cannot be written to.
    return flat.reshape(form["shape"], order=form.get("order", "C")).copy(order="K")


def _refuse_padded(dtype: Any) -> None:
    """Their bytes differ between machines, and contain what was in memory before."""
    if dtype.kind in "fc" and dtype.itemsize > (8 if dtype.kind == "f" else 16):
        message = f"the dtype {dtype} cannot be stored; convert it with .astype(numpy.float64) or numpy.complex128"
        raise ValueRefused(UnsupportedType, message)


def _encode_scalar(value: Any) -> Any:
    _refuse_padded(value.dtype)
    kind = value.dtype.kind
    if kind in _AS_JSON:
        return value.item()
    if kind in "US":
        return str(value) if kind == "U" else bytes(value)
    return {"dtype": value.dtype.str, "data": value.tobytes()}


def _decode_scalar(kind: type[Any]) -> Any:
    def decode(stored: Any) -> Any:
        if type(stored) is dict:
            return np.frombuffer(stored["data"], dtype=np.dtype(stored["dtype"]))[0]
        return kind(stored)

    return decode


def register_types() -> None:
    custom.register(np.ndarray, encode=encode_array, decode=decode_array, name="numpy.array")
    for kind in {np.dtype(code).type for code in "?bBhHiIlLqQefdgFDGmMUS"}:
        decode = _decode_scalar(kind)
        custom.register(kind, encode=_encode_scalar, decode=decode, name=f"numpy.{kind.__name__.rstrip('_')}")
    custom.hint(
        "numpy",
        {
            "matrix": "convert it with numpy.asarray(…)",
            "MaskedArray": "convert it with .filled(…)",
            "recarray": "convert it with .tolist()",
        },
    )
