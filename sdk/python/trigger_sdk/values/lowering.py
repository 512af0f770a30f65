"""Turns objects that an annotation names into the plain values that the codec stores; checks that they come back equal.

`shapes.py` does the way back.
"""

import collections
import enum
from typing import Any

from trigger_sdk.errors import UnsupportedType
from trigger_sdk.values.annotations import is_dataclass, is_model, is_named, is_named_tuple, named_classes
from trigger_sdk.values.custom import custom_of
from trigger_sdk.values.scalars import Path
from trigger_sdk.values.shapes import fields_of
from trigger_sdk.values.strict_json import path_of

_SEQUENCES = (list, tuple, collections.deque)
_SETS = (set, frozenset)


def lower_annotated(value: Any, annotation: Any) -> Any:
    """The value with the objects that the annotation names turned into plain dicts and values."""
    named = named_classes(annotation)
    return _lower(value, named, ()) if named else value


def check_restored(value: Any, restored: Any, path: Path) -> None:
    """Refuses a value that its annotation would not give back equal: UnsupportedType names the path."""
    kind = type(value)
    if is_named(kind) or kind in (dict, *_SEQUENCES, *_SETS):
        if type(restored) is not kind:
            message = f"the {kind.__name__} would come back as {type(restored).__name__}"
            raise UnsupportedType(path_of(list(path)), f"{message}: its annotation allows both")
        pairs = _parts(value, restored)
        if pairs is not None:
            for key, one, other in pairs:
                check_restored(one, other, (*path, key))
            return
    if not _is_same(value, restored):
        raise UnsupportedType(path_of(list(path)), f"{value!r:.60} would come back as {restored!r:.60}")


def _parts(value: Any, restored: Any) -> list[tuple[str | int, Any, Any]] | None:
    """The parts of two values of one type side by side; None if they are compared as they are."""
    kind = type(value)
    if is_dataclass(kind):
        names = [field.name for field in fields_of(kind, ())]
        return [(name, getattr(value, name), getattr(restored, name)) for name in names]
    if is_named_tuple(kind):
        return [(name, getattr(value, name), getattr(restored, name)) for name in kind._fields]
    if kind is dict and value.keys() == restored.keys():
        return [(key, item, restored[key]) for key, item in value.items()]
    if (
        kind in _SEQUENCES
        and len(value) == len(restored)
        and getattr(value, "maxlen", 0) == getattr(restored, "maxlen", 0)
    ):
        return [(index, *pair) for index, pair in enumerate(zip(value, restored, strict=True))]
    return None


def _is_same(value: Any, restored: Any) -> bool:
    if custom_of(type(value)) is not None:
        return type(restored) is type(value)  # its codec gives it back; an array cannot be compared with ==
    if restored == value:
        return True
    # A value that is not equal to itself, or contains one: a NaN.
    return "nan" in repr(value) and repr(restored) == repr(value) and _private(value) == _private(restored)


def _private(value: Any) -> Any:
    """What the text of a model does not show."""
    return getattr(value, "__pydantic_private__", None)


def _lower(value: Any, named: frozenset[type], path: Path) -> Any:
    if len(path) > 64:
        # The codec refuses this depth with its path; a cycle must not be followed forever.
        return value
    kind = type(value)
    if kind in named:
        return _lower_named(value, kind, named, path)
    if kind is dict:
        return {key: _lower(item, named, (*path, str(key))) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(_lower(item, named, (*path, index)) for index, item in enumerate(value))
    if kind is collections.deque:
        return collections.deque((_lower(item, named, (*path, at)) for at, item in enumerate(value)), value.maxlen)
    if kind in _SETS:
        return _lower_set(value, [_lower(item, named, path) for item in value])
    return value


def _lower_set(value: Any, members: list[Any]) -> Any:
    if all(one is other for one, other in zip(members, value, strict=True)):
        return value
    try:
        lowered = type(value)(members)
    except TypeError:
        lowered = None
    # A list, which the annotation turns back into a set: the dict that stands for an object cannot be in a set.
    return lowered if lowered is not None and len(lowered) == len(members) else sorted(members, key=repr)


def _lower_named(value: Any, kind: Any, named: frozenset[type], path: Path) -> Any:
    if is_model(kind):
        return _dump(value, path)
    if issubclass(kind, enum.Enum):
        return _lower(value.value, named, path)
    if is_named_tuple(kind):
        pairs = zip(kind._fields, value, strict=True)
        return [_lower(item, named, (*path, name)) for name, item in pairs]
    fields = {field.name: getattr(value, field.name) for field in fields_of(kind, path)}
    return {name: _lower(item, named, (*path, name)) for name, item in fields.items()}


def _dump(model: Any, path: Path) -> Any:
    try:
        return model.model_dump(mode="json", by_alias=True, round_trip=True)
    except Exception as error:  # pydantic's own errors and those of the model's serializers
        raise UnsupportedType(path_of(list(path)), f"{type(model).__name__} cannot be written: {error}") from None
