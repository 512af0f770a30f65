"""How values are stored: JSON text, with `{"$type": …}` forms for what JSON lacks. Owns the limits of a stored value.

A written value is read back equal, or refused with its path. Dataclasses, pydantic models and enumerations are written
as plain JSON if an annotation names them (`lowering.py`), and get their shape back from it (`shapes.py`).
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from trigger_sdk.errors import (
    CodecError,
    IntegerTooLong,
    MalformedJson,
    NotFinite,
    TextRefused,
    TooDeep,
    TooLarge,
    UnsupportedType,
)
from trigger_sdk.values.forms import READERS, WRITERS, ValueRefused
from trigger_sdk.values.strict_json import (
    MAX_DEPTH,
    MAX_INTEGER_DIGITS,
    MAX_VALUE_BYTES,
    parse_payload,
    path_of,
    text_problem,
)

__all__ = [
    "MAX_DEPTH",
    "MAX_INTEGER_DIGITS",
    "MAX_VALUE_BYTES",
    "VERSION",
    "CodecError",
    "MalformedJson",
    "decode",
    "encode",
    "encode_entries",
    "parse_payload",
]

VERSION = 1
"""Stored with every value. A reader refuses a version that it does not know; any change of a form increases it."""

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_SAFE_BITS = 14_284
"""Every integer with this many bits has at most 4,300 digits."""


def encode(
    value: Any,
    *,
    annotation: Any = None,
    depth: int = 0,
    at: tuple[str | int, ...] = (),
    is_restored: bool = False,
) -> bytes:
    """The stored text of a value; CodecError names the path of what cannot be stored.

    `annotation` names the dataclasses, models and enumerations that may occur; with `is_restored`, a value that they
    would not give back is refused. `depth` and `at` say how deep and where the value will be inside a larger one.
    """
    given = value
    if annotation is not None:
        from trigger_sdk.values.lowering import lower_annotated

        try:
            value = lower_annotated(value, annotation)
        except CodecError as error:
            raise type(error)(path_of(list(at)) + error.path[1:], error.message) from None
    try:
        text = _write(_lower(value, depth)).encode("utf-8")
    except ValueRefused as refused:
        raise refused.at(list(at)) from None
    if len(text) > MAX_VALUE_BYTES:
        raise TooLarge(path_of(list(at)), f"{len(text):,} bytes are over the limit of {MAX_VALUE_BYTES:,}")
    if is_restored and annotation is not None:
        from trigger_sdk.values.lowering import check_restored
        from trigger_sdk.values.shapes import named_classes, restore_at

        if named_classes(annotation):
            check_restored(given, restore_at(decode(text), annotation, at), at)
    return text


def encode_entries(entries: Mapping[str, bytes]) -> bytes:
    """The text of a dict whose values are already encoded (with `depth=1`, or 2 if a key is `$type`)."""
    for key in entries:
        if problem := text_problem(key):
            raise TextRefused("$", f"the key {key!r}: {problem}")
    text = b"{" + b",".join(_write(key).encode() + b":" + value for key, value in entries.items()) + b"}"
    if "$type" in entries:
        text = b'{"$type":"dict","value":' + text + b"}"
    if len(text) > MAX_VALUE_BYTES:
        largest = max(entries, key=lambda key: len(entries[key]))
        raise TooLarge(
            "$",
            f"{len(text):,} bytes are over the limit of {MAX_VALUE_BYTES:,}; "
            f"the largest part is {path_of([largest])} with {len(entries[largest]):,}",
        )
    return text


def decode(text: bytes) -> Any:
    """The value of a text that `encode` wrote. Raises MalformedJson or CodecError."""
    value = parse_payload(text)
    # An escape can hide the key, so texts with escapes are checked as well.
    if b"$type" not in text and b"\\u00" not in text:
        return value
    try:
        return _lift(value)
    except ValueRefused as refused:
        raise refused.at([]) from None


def _lower(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind is str:
        if problem := text_problem(value):
            raise ValueRefused(TextRefused, problem)
        return value
    if value is None or kind is bool:
        return value
    if kind is int:
        if value.bit_length() > _SAFE_BITS and abs(value) >= 10**MAX_INTEGER_DIGITS:
            raise ValueRefused(IntegerTooLong, f"an integer of more than {MAX_INTEGER_DIGITS:,} digits")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise ValueRefused(NotFinite, f"{value} cannot be stored")
        return value
    if kind is dict:
        return _lower_dict(value, depth)
    if kind is list:
        return _lower_list(value, depth)
    return _lower_special(value, kind, depth)


def _lower_list(value: Any, depth: int) -> list[Any]:
    _check_depth(depth)
    lowered: list[Any] = []
    for index, item in enumerate(value):
        try:
            lowered.append(_lower(item, depth + 1))
        except ValueRefused as refused:
            refused.segments.append(index)
            raise
    return lowered


def _lower_members(value: set[Any], depth: int) -> list[Any]:
    """The members of a set, which have no path: a problem in one has the path of the set."""
    _check_depth(depth)
    try:
        return [_lower(item, depth + 1) for item in value]
    except ValueRefused as refused:
        refused.segments.clear()
        refused.message = f"in a member of this set: {refused.message}"
        raise


def _lower_dict(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    is_wrapped = "$type" in value
    depth += is_wrapped
    _check_depth(depth)
    lowered: dict[str, Any] = {}
    for key, item in value.items():
        if type(key) is not str:
            raise ValueRefused(UnsupportedType, f"the key {key!r} is of type {type(key).__name__}; keys must be str")
        if problem := text_problem(key):
            raise ValueRefused(TextRefused, f"the key {key!r}: {problem}")
        try:
            lowered[key] = _lower(item, depth + 1)
        except ValueRefused as refused:
            refused.segments.append(key)
            raise
    return {"$type": "dict", "value": lowered} if is_wrapped else lowered


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise ValueRefused(TooDeep, f"values are nested more than {MAX_DEPTH} levels deep")


def _lower_special(value: Any, kind: type, depth: int) -> dict[str, Any]:
    if kind is tuple:
        _check_depth(depth)
        return {"$type": "tuple", "value": _lower_list(value, depth + 1)}
    if kind is set:
        _check_depth(depth)
        # Sorted by text: the order of a set differs between processes, and stored texts are compared.
        return {"$type": "set", "value": sorted(_lower_members(value, depth + 1), key=_write)}
    name = f"{kind.__module__}.{kind.__qualname__}"
    write = WRITERS.get(name)
    if write is None:
        raise ValueRefused(UnsupportedType, _unsupported(value, kind))
    _check_depth(depth)
    return {"$type": name.rpartition(".")[2].lower(), **write(value)}


def _unsupported(value: Any, kind: type) -> str:
    shown = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    for base, hint in ((dict, "dict(…)"), (list, "list(…)"), (tuple, "tuple(…)"), (set, "set(…)"), (str, "str(…)")):
        if isinstance(value, base):
            return f"a {shown} cannot be stored; convert it with {hint}"
    if hasattr(kind, "__dataclass_fields__") or hasattr(kind, "model_validate"):
        return f"a {shown} can be stored only if an annotation names it, such as `order: {kind.__name__} = …`"
    return f"a {shown} cannot be stored"


def _lift(value: Any) -> Any:
    if type(value) is list:
        return [_lift_at(index, item) for index, item in enumerate(value)]
    if type(value) is not dict:
        return value
    if "$type" not in value:
        return {key: _lift_at(key, item) for key, item in value.items()}
    name, inner = value["$type"], value.get("value")
    if not isinstance(name, str) or (name not in READERS and name not in _CONTAINERS):
        raise ValueRefused(CodecError, f"the type {name!r} is unknown")
    try:
        return _CONTAINERS[name](inner) if name in _CONTAINERS else READERS[name](inner, value)
    except (ValueError, TypeError, AttributeError, ArithmeticError, LookupError) as error:
        raise ValueRefused(CodecError, f"{inner!r:.80} is not a stored {name}: {error}") from None


def _lift_at(key: str | int, item: Any) -> Any:
    try:
        return _lift(item)
    except ValueRefused as refused:
        refused.segments.append(key)
        raise


def _items(inner: Any) -> list[Any]:
    if type(inner) is not list:
        raise TypeError("it must be a list")
    return [_lift_at(index, item) for index, item in enumerate(inner)]


def _entries(inner: Any) -> dict[str, Any]:
    if type(inner) is not dict:
        raise TypeError("it must be an object")
    return {key: _lift_at(key, item) for key, item in inner.items()}


_CONTAINERS: dict[str, Any] = {
    "tuple": lambda inner: tuple(_items(inner)),
    "set": lambda inner: set(_items(inner)),
    "dict": lambda inner: _entries(inner),
}
