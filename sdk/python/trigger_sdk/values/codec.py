"""How values are stored: JSON text, with `{"$type": …}` forms for what JSON lacks. Owns the limits of a stored value.

A written value is read back equal, or refused with its path. Dataclasses, pydantic models and enumerations are written
as plain JSON if an annotation names them (`lowering.py`), and get their shape back from it (`shapes.py`).
"""

import json
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from trigger_sdk.errors import (
    CodecError,
    IntegerTooLong,
    MalformedJson,
    TextRefused,
    TooDeep,
    TooLarge,
    UnsupportedType,
)
from trigger_sdk.values.custom import Custom, custom_of, is_custom_name, lift_custom, lower_custom
from trigger_sdk.values.forms import READERS, ValueRefused, write_odd_float, writer_of
from trigger_sdk.values.refusals import unsupported
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
    "check_stored",
    "decode",
    "encode",
    "encode_entries",
    "parse_payload",
]

VERSION = 1
"""Stored with every value. A reader refuses a version that it does not know; any change of a form increases it. A new
form does not: a reader that is older refuses its name."""

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")).encode
_writers: dict[type, tuple[str, Any]] = {}
"""What `writer_of` has said."""
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
        from trigger_sdk.values.annotations import named_classes
        from trigger_sdk.values.lowering import check_restored
        from trigger_sdk.values.shapes import restore_at

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


def check_stored(text: bytes) -> None:
    """Raises what reading a text and storing it again would raise. Forms of registered types are only looked into: the
    process that checks an edited text may not have their code."""
    try:
        encode(_lift(_unnamed(parse_payload(text))))
    except ValueRefused as refused:
        raise refused.at([]) from None


def _unnamed(value: Any) -> Any:
    """The value with the forms of registered types as dicts."""
    if type(value) is list:
        return [_unnamed(item) for item in value]
    if type(value) is not dict:
        return value
    items = {key: _unnamed(item) for key, item in value.items()}
    return {"$type": "dict", "value": items} if is_custom_name(value.get("$type")) else items


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
            _check_depth(depth)
            return write_odd_float(value)
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


def _lower_members(value: Any, depth: int) -> list[Any]:
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
    _check_depth(depth)
    written = _writers.get(kind)
    if written is not None:
        return {"$type": written[0], **written[1](value)}
    if kind is tuple:
        return {"$type": "tuple", "value": _lower_list(value, depth + 1)}
    if kind is set or kind is frozenset:
        # Sorted by text: the order of a set differs between processes, and stored texts are compared.
        return {"$type": kind.__name__, "value": sorted(_lower_members(value, depth + 1), key=_write)}
    if kind is deque:
        length = {} if value.maxlen is None else {"maxlen": value.maxlen}
        return {"$type": "deque", "value": _lower_list(value, depth + 1), **length}
    if (written := writer_of(kind)) is not None:
        _writers[kind] = written
        return {"$type": written[0], **written[1](value)}
    if (custom := custom_of(kind)) is not None:
        return {"$type": custom.name, "value": _lower_inside(custom, value, depth + 1)}
    raise ValueRefused(UnsupportedType, unsupported(value))


def _lower_inside(custom: Custom, value: Any, depth: int) -> Any:
    """What the codec of a type makes of a value; a problem in it has the path of the value."""
    try:
        return _lower(lower_custom(custom, value), depth)
    except ValueRefused as refused:
        if refused.segments and not refused.message.startswith("inside the "):
            place = path_of(list(reversed(refused.segments)))
            refused.message = f"inside the {custom.kind.__name__}, at {place}: {refused.message}"
        refused.segments.clear()
        raise


def _lift(value: Any) -> Any:
    if type(value) is list:
        return [_lift_at(index, item) for index, item in enumerate(value)]
    if type(value) is not dict:
        return value
    if "$type" not in value:
        return {key: _lift_at(key, item) for key, item in value.items()}
    name, inner = value["$type"], value.get("value")
    read = _FORMS.get(name) if isinstance(name, str) else None
    if read is None:
        if is_custom_name(name):
            return lift_custom(name, _lift(inner))
        raise ValueRefused(CodecError, f"the type {name!r} is unknown")
    try:
        return read(inner, value)
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


def _deque(inner: Any, form: dict[str, Any]) -> deque[Any]:
    return deque(_items(inner), form.get("maxlen"))


_CONTAINERS: dict[str, Any] = {
    "tuple": lambda inner, form: tuple(_items(inner)),
    "set": lambda inner, form: set(_items(inner)),
    "frozenset": lambda inner, form: frozenset(_items(inner)),
    "deque": _deque,
    "dict": lambda inner, form: _entries(inner),
}
_FORMS = {**READERS, **_CONTAINERS}
