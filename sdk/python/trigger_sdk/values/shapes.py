"""Turns plain JSON into the values an annotation asks for: dataclasses, models, dates and the like.

The same rules read payloads and stored locals. `lowering.py` does the way back, `schema.py` their JSON Schema.
"""

import base64
import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from trigger_sdk.errors import PayloadError, UnsupportedType
from trigger_sdk.values.strict_json import path_of

Path = tuple[str | int, ...]


class UnsupportedAnnotationError(Exception):
    """No payload can be turned into this annotation."""

    def __init__(self, annotation: Any, reason: str = "") -> None:
        shown = getattr(annotation, "__qualname__", None) or repr(annotation)
        super().__init__(f"`{shown}` {reason or 'cannot be read from a payload'}")


def strip(annotation: Any) -> Any:
    """The annotation without Annotated, NewType, `type` aliases, Required and the like."""
    while True:
        origin = typing.get_origin(annotation)
        if origin in (typing.Annotated, typing.Required, typing.NotRequired, typing.Final):
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def is_model(kind: Any) -> bool:
    """Whether a class is a pydantic model, judged by its methods: pydantic is not a dependency."""
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "model_json_schema")


def is_named(kind: Any) -> bool:
    """Whether values of this class are stored as plain JSON and need their annotation to come back."""
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or is_model(kind) or issubclass(kind, enum.Enum))


def class_hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def convert(value: Any, annotation: Any, path: Path = ()) -> Any:
    """The value in the form the annotation asks for; PayloadError names the path of what does not fit."""
    annotation = strip(annotation)
    if annotation in (Any, object):
        return value
    if annotation in (None, types.NoneType):
        return _exact(value, types.NoneType, "null", path)
    if isinstance(annotation, typing.TypeVar):
        return value
    scalar = _SCALARS.get(annotation) if isinstance(annotation, type) else None
    if scalar is not None:
        return scalar(value, path)
    if is_model(annotation):
        return _to_model(value, annotation, path)
    if typing.is_typeddict(annotation):
        return _to_typed_dict(value, annotation, path)
    if is_named(annotation):
        return (
            _to_enum(value, annotation, path)
            if issubclass(annotation, enum.Enum)
            else _to_dataclass(value, annotation, path)
        )
    return _convert_generic(value, annotation, path)


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


def named_classes(annotation: Any) -> frozenset[type]:
    """The dataclasses, models and enumerations that occur in an annotation, fields included."""
    try:
        return _named_classes(annotation)
    except TypeError:
        # An unhashable annotation, such as Literal[[]], names nothing.
        return frozenset()


def is_computed(annotation: Any) -> bool:
    """Whether a class of the annotation fills in fields by a call (an id, a time), so that reading the same payload
    again may give another value."""
    return any(
        factory not in (None, dataclasses.MISSING, *_PLAIN_FACTORIES)
        for kind in named_classes(annotation)
        for factory in _factories(kind)
    )


_PLAIN_FACTORIES = (list, dict, set, tuple, str, int, float, bool)


def _factories(kind: Any) -> list[Any]:
    if is_model(kind):
        return [getattr(field, "default_factory", None) for field in getattr(kind, "model_fields", {}).values()]
    return [field.default_factory for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


@functools.cache
def _named_classes(annotation: Any) -> frozenset[type]:
    found: set[type] = set()
    waiting = [annotation]
    seen: list[Any] = []
    while waiting:
        item = strip(waiting.pop())
        if item in seen:
            continue
        seen.append(item)
        if is_named(item):
            found.add(item)
        if (dataclasses.is_dataclass(item) and isinstance(item, type)) or typing.is_typeddict(item):
            waiting.extend(class_hints(item).values())
        if typing.get_origin(item) is not typing.Literal:
            waiting.extend(argument for argument in typing.get_args(item) if argument is not Ellipsis)
    return frozenset(found)


def fields_of(kind: Any, path: Path) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a dataclass; UnsupportedType if one cannot be given to its constructor."""
    fields = dataclasses.fields(kind)
    odd = next((field.name for field in fields if not field.init), None)
    if odd is not None:
        raise UnsupportedType(path_of(list(path)), f"{kind.__name__}.{odd} has init=False and could not be restored")
    return fields


def _exact(value: Any, kind: type, word: str, path: Path) -> Any:
    if type(value) is not kind:
        _refuse(value, word, path)
    return value


def _refuse(value: Any, word: str, path: Path, reason: str = "") -> typing.NoReturn:
    shown = f"{value!r:.60}" if isinstance(value, (str, int, float, bool, type(None))) else _json_word(value)
    raise PayloadError(path_of(list(path)), f"must be {word}, not {shown}{': ' + reason if reason else ''}")


def _json_word(value: Any) -> str:
    if type(value) is dict:
        return "an object"
    return "an array" if type(value) is list else f"a {type(value).__name__}"


def _to_int(value: Any, path: Path) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    return int(_exact(value, int, "an integer", path))


def _to_float(value: Any, path: Path) -> float:
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            _refuse(value, "a number in the range of a float", path)
    return float(_exact(value, float, "a number", path))


def _from_text(kind: Callable[[], type], read: Callable[[str], Any], word: str) -> Callable[[Any, Path], Any]:
    def convert_text(value: Any, path: Path) -> Any:
        if type(value) is kind():
            return value
        if type(value) is not str:
            _refuse(value, word, path)
        try:
            return read(value)
        except (ValueError, ArithmeticError) as error:
            _refuse(value, word, path, str(error))

    return convert_text


def _to_decimal(value: Any, path: Path) -> Any:
    from decimal import Decimal

    text = str(value) if type(value) in (int, float) else value
    converted = _from_text(lambda: Decimal, Decimal, 'a decimal number as text, such as "10.10"')(text, path)
    return converted if converted.is_finite() else _refuse(value, "a finite decimal number", path)


def _scalars() -> dict[Any, Callable[[Any, Path], Any]]:
    import datetime
    import decimal
    import uuid

    from trigger_sdk.values.forms import parse_duration

    def text(kind: type, read: Callable[[str], Any], word: str) -> Callable[[Any, Path], Any]:
        return _from_text(lambda: kind, read, word)

    return {
        str: lambda value, path: _exact(value, str, "a string", path),
        bool: lambda value, path: _exact(value, bool, "true or false", path),
        int: _to_int,
        float: _to_float,
        bytes: text(bytes, lambda value: base64.b64decode(value, validate=True), "bytes as base64 text"),
        datetime.datetime: text(datetime.datetime, datetime.datetime.fromisoformat, "a date and time (ISO 8601)"),
        datetime.date: text(datetime.date, datetime.date.fromisoformat, "a date (ISO 8601)"),
        datetime.time: text(datetime.time, datetime.time.fromisoformat, "a time (ISO 8601)"),
        datetime.timedelta: text(datetime.timedelta, parse_duration, "a duration (ISO 8601)"),
        uuid.UUID: text(uuid.UUID, uuid.UUID, "a UUID"),
        decimal.Decimal: _to_decimal,
    }


class _Scalars(dict[Any, Callable[[Any, Path], Any]]):
    """Filled on first look-up: every container imports this package, but few need decimal and uuid."""

    def get(self, key: Any, default: Any = None) -> Any:
        if not self:
            self.update(_scalars())
        return super().get(key, default)


_SCALARS = _Scalars()


def _to_enum(value: Any, kind: type[enum.Enum], path: Path) -> Any:
    for member in kind:
        if member.value == value and type(member.value) is type(value):
            return member
    _refuse(value, "one of " + ", ".join(repr(member.value) for member in kind), path)


def _to_model(value: Any, kind: Any, path: Path) -> Any:
    try:
        return kind.model_validate(value)
    except ValueError as error:
        details = error.errors() if hasattr(error, "errors") else []
        if not details:
            _refuse(value, f"a valid {kind.__name__}", path, str(error))
        raise PayloadError(path_of([*path, *details[0]["loc"]]), str(details[0]["msg"])) from None


def _to_dataclass(value: Any, kind: Any, path: Path) -> Any:
    hints = class_hints(kind)
    fields = {field.name: field for field in fields_of(kind, path)}
    missing = dataclasses.MISSING
    required = {n for n, f in fields.items() if f.default is missing and f.default_factory is missing}
    try:
        return kind(**_convert_entries(value, {name: hints[name] for name in fields}, required, path))
    except (ValueError, TypeError) as error:
        _refuse(value, f"a valid {kind.__name__}", path, str(error))


def _to_typed_dict(value: Any, kind: Any, path: Path) -> Any:
    return _convert_entries(value, class_hints(kind), kind.__required_keys__, path)


def _convert_entries(value: Any, hints: Mapping[str, Any], required: typing.AbstractSet[str], path: Path) -> Any:
    _exact(value, dict, "an object", path)
    for name in hints:
        if name in required and name not in value:
            raise PayloadError(path_of([*path, name]), "is missing")
    for name in value:
        if name not in hints:
            raise PayloadError(path_of([*path, name]), "is not known here")
    return {name: convert(item, hints[name], (*path, name)) for name, item in value.items()}


def _convert_generic(value: Any, annotation: Any, path: Path) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if origin is typing.Literal:
        if not any(value == item and type(value) is type(item) for item in arguments):
            _refuse(value, "one of " + ", ".join(map(repr, arguments)), path)
        return value
    if origin in (typing.Union, types.UnionType):
        return _to_union(value, arguments, path)
    family = family_of(kind)
    item = arguments[0] if arguments else Any
    if family is dict:
        if arguments and strip(item) not in (str, Any):
            raise UnsupportedAnnotationError(annotation, "has keys that are not str: JSON has no others")
        _exact(value, dict, "an object", path)
        inner = arguments[1] if arguments else Any
        return {key: convert(entry, inner, (*path, key)) for key, entry in value.items()}
    if family is None:
        raise UnsupportedAnnotationError(annotation)
    if type(value) is not family:
        _exact(value, list, "an array", path)
    if family is tuple and arguments and arguments[-1] is not Ellipsis:
        return _to_fixed_tuple(value, () if arguments == ((),) else arguments, path)
    return family(convert(entry, item, (*path, index)) for index, entry in enumerate(value))


def family_of(kind: Any) -> type | None:
    """The built-in container used for an annotation's origin: `Sequence[int]` is read as a list."""
    from collections import abc

    return {
        list: list, abc.Sequence: list, abc.Iterable: list, abc.Collection: list, abc.MutableSequence: list,
        dict: dict, abc.Mapping: dict, abc.MutableMapping: dict,
        tuple: tuple, set: set, abc.Set: set, abc.MutableSet: set,
    }.get(kind)  # fmt: skip


def _to_fixed_tuple(value: Any, arguments: tuple[Any, ...], path: Path) -> tuple[Any, ...]:
    if len(value) != len(arguments):
        raise PayloadError(path_of(list(path)), f"must have {len(arguments)} items, not {len(value)}")
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(convert(entry, item, (*path, index)) for index, (entry, item) in pairs)


def _to_union(value: Any, options: tuple[Any, ...], path: Path) -> Any:
    exact = [option for option in options if strip(option) is type(value)]
    others = [option for option in options if option not in exact]
    errors: list[PayloadError] = []
    for option in exact + others:
        try:
            return convert(value, option, path)
        except PayloadError as error:
            errors.append(error)
    deepest = max(errors, key=lambda error: len(error.path))
    if len(deepest.path) > len(path_of(list(path))) or len(errors) == 1:
        raise deepest
    raise PayloadError(deepest.path, "; or ".join(error.message for error in errors))
