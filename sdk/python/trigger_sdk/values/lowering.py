"""Turns objects that an annotation names into the plain values that the codec stores; checks that they come back equal.

`shapes.py` does the way back.
"""

import dataclasses
import enum
from typing import Any

from trigger_sdk.errors import UnsupportedType
from trigger_sdk.values.shapes import Path, fields_of, is_model, is_named, named_classes
from trigger_sdk.values.strict_json import path_of


def lower_annotated(value: Any, annotation: Any) -> Any:
    """The value with the objects that the annotation names turned into plain dicts and values."""
    named = named_classes(annotation)
    return _lower(value, named, ()) if named else value


def check_restored(value: Any, restored: Any, path: Path) -> None:
    """Refuses a value that its annotation would not give back equal: UnsupportedType names the path."""
    if is_named(type(value)) or type(value) in (list, tuple, dict, set):
        if type(restored) is not type(value):
            message = f"the {type(value).__name__} would come back as {type(restored).__name__}"
            raise UnsupportedType(path_of(list(path)), f"{message}: its annotation allows both")
        pairs = _parts(value, restored)
        if pairs is not None:
            for key, one, other in pairs:
                check_restored(one, other, (*path, key))
            return
    if restored != value:
        raise UnsupportedType(path_of(list(path)), f"{value!r:.60} would come back as {restored!r:.60}")


def _parts(value: Any, restored: Any) -> list[tuple[str | int, Any, Any]] | None:
    """The parts of two values of one type side by side; None if they are compared as they are."""
    if dataclasses.is_dataclass(value) and not is_model(type(value)):
        names = [field.name for field in dataclasses.fields(value)]
        return [(name, getattr(value, name), getattr(restored, name)) for name in names]
    if type(value) is dict and value.keys() == restored.keys():
        return [(key, item, restored[key]) for key, item in value.items()]
    if type(value) in (list, tuple) and len(value) == len(restored):
        return [(index, *pair) for index, pair in enumerate(zip(value, restored, strict=True))]
    return None


def _lower(value: Any, named: frozenset[type], path: Path) -> Any:
    if len(path) > 64:
        # The codec refuses this depth with its path; a cycle must not be followed forever.
        return value
    kind = type(value)
    if kind in named:
        if is_model(kind):
            return _dump(value, path)
        if issubclass(kind, enum.Enum):
            return _lower(value.value, named, path)
        fields = {field.name: getattr(value, field.name) for field in fields_of(kind, path)}
        return {name: _lower(item, named, (*path, name)) for name, item in fields.items()}
    if kind is dict:
        return {key: _lower(item, named, (*path, str(key))) for key, item in value.items()}
    if kind is list or kind is tuple:
        return kind(_lower(item, named, (*path, index)) for index, item in enumerate(value))
    if kind is set:
        members = [_lower(item, named, path) for item in value]
        # A list, which the annotation turns back into a set: the dict that stands for an object cannot be in a set.
        is_plain = all(one is other for one, other in zip(members, value, strict=True))
        return value if is_plain else sorted(members, key=repr)
    return value


def _dump(model: Any, path: Path) -> Any:
    try:
        return model.model_dump(mode="json", by_alias=True, round_trip=True)
    except Exception as error:  # pydantic's own errors and those of the model's serializers
        raise UnsupportedType(path_of(list(path)), f"{type(model).__name__} cannot be written: {error}") from None
