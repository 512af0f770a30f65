"""Turns plain JSON into the values an annotation asks for: dataclasses, models, containers, dates and the like.

The same rules read payloads and stored locals. `lowering.py` does the way back, `schema.py` their JSON Schema.
"""

import collections
import contextlib
import dataclasses
import json
import types
import typing
from collections import abc
from typing import Any

from trigger_sdk.errors import PayloadError, UnsupportedType
from trigger_sdk.values.annotations import (
    UnsupportedAnnotationError,
    class_of,
    given_fields,
    is_dataclass,
    is_enum,
    is_model,
    is_named_tuple,
    named_classes,
    required_fields,
    strip,
)
from trigger_sdk.values.scalars import SCALARS, Path, exact, is_path, refuse, to_enum, to_literal, to_path
from trigger_sdk.values.strict_json import path_of
from trigger_sdk.values.texts import either

CONTAINERS: dict[Any, tuple[type, ...]] = {
    list: (list,), abc.MutableSequence: (list, collections.deque),
    abc.Sequence: (list, tuple, collections.deque),
    abc.Iterable: (list, tuple, set, frozenset, collections.deque),
    abc.Collection: (list, tuple, set, frozenset, collections.deque),
    dict: (dict,), abc.Mapping: (dict,), abc.MutableMapping: (dict,),
    tuple: (tuple,), set: (set,), abc.MutableSet: (set,), abc.Set: (set, frozenset), frozenset: (frozenset,),
    collections.deque: (collections.deque,),
}  # fmt: skip
"""By an annotation's class: the containers that it allows; JSON is read as the first: `Sequence[int]` as a list."""


def convert(value: Any, annotation: Any, path: Path = ()) -> Any:
    """The value in the form the annotation asks for; PayloadError names the path of what does not fit."""
    annotation = strip(annotation)
    if annotation in (Any, object) or isinstance(annotation, typing.TypeVar):
        return value
    if annotation is None:
        annotation = types.NoneType
    scalar = SCALARS.get(annotation) if isinstance(annotation, type) else None
    if scalar is not None:
        return scalar(value, path)
    if is_model(annotation):
        return _to_model(value, annotation, path)
    kind = class_of(annotation)
    if is_enum(kind):
        return to_enum(value, kind, path)
    if typing.is_typeddict(kind):
        return _convert_entries(value, annotation, path)
    if is_dataclass(kind):
        return _to_dataclass(value, annotation, path)
    if is_named_tuple(kind):
        return _to_named_tuple(value, annotation, path)
    return to_path(value, kind, path) if is_path(kind) else _convert_generic(value, annotation, path)


def restore(value: Any, annotation: Any, name: str) -> Any:
    """A decoded local in the shape of its annotation; values without named classes stay as they are."""
    return restore_at(value, annotation, (name,))


def restore_at(value: Any, annotation: Any, path: Path) -> Any:
    """Does the same for a value at any path. Raises UnsupportedType if it does not fit."""
    if annotation is None or not named_classes(annotation):
        return value
    try:
        return convert(value, annotation, path)
    except PayloadError as error:
        raise UnsupportedType(error.path, f"the value does not fit its annotation: {error.message}") from None
    except UnsupportedAnnotationError as error:
        raise UnsupportedType(path_of(list(path)), f"its annotation {error}") from None


def fields_of(kind: Any, path: Path) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a dataclass; UnsupportedType if one cannot be given to its constructor."""
    fields = dataclasses.fields(kind)
    odd = next((field.name for field in fields if not field.init), None)
    if odd is not None:
        raise UnsupportedType(path_of(list(path)), f"{kind.__name__}.{odd} has init=False and could not be restored")
    return fields


def _to_model(value: Any, kind: Any, path: Path) -> Any:
    try:
        try:
            return kind.model_validate(value)
        except ValueError:
            # A strict model takes a text as a date in JSON only.
            with contextlib.suppress(ValueError, TypeError):
                return kind.model_validate_json(json.dumps(value))
            raise
    except ValueError as error:
        details = error.errors() if hasattr(error, "errors") else []
        if not details:
            refuse(value, f"a valid {kind.__name__}", path, str(error))
        raise PayloadError(path_of([*path, *details[0]["loc"]]), str(details[0]["msg"])) from None


def _to_dataclass(value: Any, annotation: Any, path: Path) -> Any:
    kind = class_of(annotation)
    entries = _convert_entries(value, annotation, path)
    try:
        return kind(**entries)
    except (ValueError, TypeError) as error:
        refuse(value, f"a valid {kind.__name__}", path, str(error))


def _convert_entries(value: Any, annotation: Any, path: Path) -> dict[str, Any]:
    exact(value, dict, "an object", path)
    hints, required = given_fields(annotation), required_fields(annotation)
    for name in hints:
        if name in required and name not in value:
            raise PayloadError(path_of([*path, name]), "is missing")
    for name in value:
        if name not in hints:
            raise PayloadError(path_of([*path, name]), "is not known here")
    return {name: convert(item, hints[name], (*path, name)) for name, item in value.items()}


def _to_named_tuple(value: Any, annotation: Any, path: Path) -> Any:
    kind, hints = class_of(annotation), given_fields(annotation)
    exact(value, list, f"an array of {', '.join(kind._fields) or 'nothing'}", path)
    if not len(required_fields(annotation)) <= len(value) <= len(hints):
        raise PayloadError(
            path_of(list(path)), length_problem(len(required_fields(annotation)), len(hints), len(value))
        )
    return kind(*(convert(item, hint, (*path, at)) for at, (item, hint) in enumerate(zip(value, hints.values()))))  # noqa: B905


def length_problem(at_least: int, at_most: int, count: int) -> str:
    wanted = f"{at_least}" if at_least == at_most else f"{at_least} to {at_most}"
    return f"must have {wanted} items, not {count}"


def _convert_generic(value: Any, annotation: Any, path: Path) -> Any:
    kind, arguments = class_of(annotation), typing.get_args(annotation)
    if kind is typing.Literal:
        return to_literal(value, arguments, path)
    if kind in (typing.Union, types.UnionType):
        return _to_union(value, arguments, path)
    allowed = CONTAINERS.get(kind)
    if allowed is None:
        if isinstance(kind, type) and isinstance(value, kind):
            return value  # of a registered type, or of one that is stored as it is
        raise UnsupportedAnnotationError(annotation)
    item = arguments[0] if arguments else Any
    if allowed == (dict,):
        return _to_dict(value, annotation, arguments, path)
    if type(value) not in allowed:
        exact(value, list, "an array", path)
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        return _to_fixed_tuple(value, () if arguments == ((),) else arguments, path)
    items = [convert(entry, item, (*path, index)) for index, entry in enumerate(value)]
    return _built(allowed[0] if type(value) is list else type(value), items, value, path)


def _to_dict(value: Any, annotation: Any, arguments: tuple[Any, ...], path: Path) -> dict[str, Any]:
    if arguments and strip(arguments[0]) not in (str, Any):
        raise UnsupportedAnnotationError(annotation, "has keys that are not str: JSON has no others")
    exact(value, dict, "an object", path)
    inner = arguments[1] if arguments else Any
    return {key: convert(entry, inner, (*path, key)) for key, entry in value.items()}


def _built(kind: type, items: list[Any], value: Any, path: Path) -> Any:
    if kind is collections.deque:
        return collections.deque(items, getattr(value, "maxlen", None))
    try:
        return kind(items)
    except TypeError as error:
        raise PayloadError(path_of(list(path)), f"has an item that cannot be in a set: {error}") from None


def _to_fixed_tuple(value: Any, arguments: tuple[Any, ...], path: Path) -> tuple[Any, ...]:
    if len(value) != len(arguments):
        raise PayloadError(path_of(list(path)), length_problem(len(arguments), len(arguments), len(value)))
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(convert(entry, item, (*path, index)) for index, (entry, item) in pairs)


def _to_union(value: Any, options: tuple[Any, ...], path: Path) -> Any:
    first = [option for option in options if class_of(strip(option)) is type(value)]
    others = [option for option in options if option not in first]
    errors: list[PayloadError] = []
    for option in first + others:
        try:
            return convert(value, option, path)
        except PayloadError as error:
            errors.append(error)
    raise closest(errors, path_of(list(path)))


def closest(errors: list[PayloadError], path: str) -> PayloadError:
    """The error to show of a union at `path`: that of the option that fits furthest, or all if none got inside."""
    deepest = max(errors, key=lambda error: len(error.path))
    if len(deepest.path) > len(path) or len(errors) == 1:
        return deepest
    return PayloadError(path, either([error.message for error in errors]))
