"""What annotations say: the classes they name, the fields of those classes, and what the arguments of generics fill in.

Judges classes by their features: neither pydantic nor typing_extensions is a dependency.
"""

import dataclasses
import enum
import functools
import inspect
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

_QUALIFIERS = frozenset({"Annotated", "Required", "NotRequired", "ReadOnly", "Final"})


class UnsupportedAnnotationError(Exception):
    """No payload can be turned into this annotation."""

    def __init__(self, annotation: Any, reason: str = "") -> None:
        super().__init__(f"`{name_of(annotation)}` {reason or 'cannot be read from a payload'}")


def name_of(annotation: Any) -> str:
    """How an annotation is shown: `Order`, `Page[int]`."""
    if typing.get_args(annotation):
        return repr(annotation)
    return getattr(annotation, "__qualname__", None) or repr(annotation)


def strip(annotation: Any, *, keeps_alias: bool = False) -> Any:
    """The annotation without Annotated, NewType, `type` aliases, Required and the like."""
    while True:
        origin = typing.get_origin(annotation)
        if is_alias(origin or annotation):
            if keeps_alias:
                return annotation
            annotation = alias_value(annotation)
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, dataclasses.InitVar):
            annotation = annotation.type
        elif origin is not None and getattr(origin, "_name", getattr(origin, "__name__", "")) in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        else:
            return annotation


def is_alias(annotation: Any) -> bool:
    """Whether this is what `type Name = …` makes."""
    return type(annotation).__name__ == "TypeAliasType"


def alias_value(annotation: Any) -> Any:
    """What an alias stands for, with its arguments filled in."""
    alias = typing.get_origin(annotation) or annotation
    return filled(_alias_value(alias), dict(zip(alias.__type_params__, typing.get_args(annotation), strict=False)))


@functools.cache
def _alias_value(alias: Any) -> Any:
    """With the names in it looked up: before Python 3.12 an alias can refer to itself only by a text."""
    holder: Any = types.SimpleNamespace(__annotations__={"value": alias.__value__})
    scope = {**vars(sys.modules.get(alias.__module__, typing)), alias.__name__: alias}
    return typing.get_type_hints(holder, scope, scope, include_extras=True)["value"]


def is_model(kind: Any) -> bool:
    """Whether a class is a pydantic model, judged by its methods: pydantic is not a dependency."""
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "model_json_schema")


def is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and not is_model(kind)


def is_named_tuple(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def is_named(kind: Any) -> bool:
    """Whether values of this class are stored as plain JSON and need their annotation to come back."""
    return is_enum(kind) or is_model(kind) or is_dataclass(kind) or is_named_tuple(kind)


def class_of(annotation: Any) -> Any:
    """The class of a generic with arguments (`Page` of `Page[int]`); anything else as it is."""
    return typing.get_origin(annotation) or annotation


def field_hints(annotation: Any) -> dict[str, Any]:
    """The annotations of a class's fields by name, the arguments of a generic filled in; unannotated ones of a named
    tuple are Any. Raises NameError for a name that is not defined."""
    kind = class_of(annotation)
    try:
        known = _field_hints(annotation)
    except TypeError:  # an unhashable argument, such as Annotated[Order, {}]
        known = _read_field_hints(annotation)
    return dict(known) if not is_named_tuple(kind) else {name: known.get(name, Any) for name in kind._fields}


def required_fields(annotation: Any) -> frozenset[str]:
    """The fields that must be given."""
    kind = class_of(annotation)
    if typing.is_typeddict(kind):
        return _required_keys(kind, field_hints(annotation))
    if is_named_tuple(kind):
        return frozenset(kind._fields) - frozenset(kind._field_defaults)
    missing = dataclasses.MISSING
    given = [field for field in dataclasses.fields(kind) if field.init]
    needed = {field.name for field in given if field.default is missing and field.default_factory is missing}
    return frozenset(needed | {name for name, default in init_only(kind).items() if default is missing})


def init_only(kind: Any) -> dict[str, Any]:
    """The `InitVar`s of a dataclass with their defaults: its constructor takes them, but no instance has them."""
    fields = kind.__dataclass_fields__.values()
    return {field.name: field.default for field in fields if field._field_type is dataclasses._FIELD_INITVAR}  # type: ignore[attr-defined]  # noqa: SLF001


def given_fields(annotation: Any) -> dict[str, Any]:
    """The fields that a constructor takes, with their annotations."""
    kind, hints = class_of(annotation), field_hints(annotation)
    if not is_dataclass(kind):
        return hints
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    return {name: hints[name] for name in [*names, *init_only(kind)]}


def _required_keys(kind: Any, hints: Mapping[str, Any]) -> frozenset[str]:
    """`__required_keys__` does not see a qualifier under `from __future__ import annotations`."""
    required = set(kind.__required_keys__)
    for name, hint in hints.items():
        said = set(_qualifiers(hint))
        if "NotRequired" in said:
            required.discard(name)
        elif "Required" in said:
            required.add(name)
    return frozenset(required)


def _qualifiers(hint: Any) -> Iterator[str]:
    origin = typing.get_origin(hint)
    while origin is not None and (name := getattr(origin, "_name", getattr(origin, "__name__", ""))) in _QUALIFIERS:
        yield name
        hint = typing.get_args(hint)[0]
        origin = typing.get_origin(hint)


@functools.cache
def _field_hints(annotation: Any) -> Mapping[str, Any]:
    return _read_field_hints(annotation)


def _read_field_hints(annotation: Any) -> dict[str, Any]:
    kind = class_of(annotation)
    whole = typing.get_type_hints(kind, include_extras=True)
    if not hasattr(kind, "__orig_bases__"):
        return whole
    found: dict[str, Any] = {}
    for base, arguments in _bases(kind, dict(zip(_parameters(kind), typing.get_args(annotation), strict=False))):
        own = inspect.get_annotations(base)
        hints = typing.get_type_hints(base, include_extras=True) if own else {}
        found.update({name: filled(hints[name], arguments) for name in own if name in hints})
    return {name: found.get(name, hint) for name, hint in whole.items()}


def _bases(kind: Any, arguments: dict[Any, Any]) -> Iterator[tuple[Any, dict[Any, Any]]]:
    """A class after the classes it is made from, each with what its own type variables stand for."""
    # Its own entry: an inherited one names the bases of the base.
    for base in reversed(vars(kind).get("__orig_bases__", kind.__bases__)):
        origin = class_of(base)
        if isinstance(origin, type) and origin not in (object, dict, tuple, typing.Generic):
            inner = [filled(argument, arguments) for argument in typing.get_args(base)]
            yield from _bases(origin, dict(zip(_parameters(origin), inner, strict=False)))
    yield kind, arguments


def _parameters(kind: Any) -> tuple[Any, ...]:
    return tuple(getattr(kind, "__parameters__", ()))


def filled(annotation: Any, arguments: Mapping[Any, Any]) -> Any:
    """The annotation with its type variables replaced; those without an argument stay."""
    if isinstance(annotation, typing.TypeVar):
        return arguments.get(annotation, annotation)
    open_ones = _parameters(annotation) if not isinstance(annotation, type) else ()
    if not arguments or not open_ones:
        return annotation
    return annotation[tuple(arguments.get(variable, variable) for variable in open_ones)]


def named_classes(annotation: Any) -> frozenset[type]:
    """The dataclasses, models, named tuples and enumerations that occur in an annotation, fields included."""
    try:
        return _named_classes(annotation)
    except TypeError:  # an unhashable argument, such as Annotated[Order, {}]
        return _find_named_classes(annotation)


@functools.cache
def _named_classes(annotation: Any) -> frozenset[type]:
    return _find_named_classes(annotation)


def _find_named_classes(annotation: Any) -> frozenset[type]:
    found: set[type] = set()
    waiting = [annotation]
    seen: list[Any] = []
    while waiting:
        item = strip(waiting.pop())
        if item in seen:
            continue
        seen.append(item)
        kind = class_of(item)
        if is_named(kind):
            found.add(kind)
        if is_dataclass(kind) or is_named_tuple(kind) or typing.is_typeddict(kind):
            waiting.extend(field_hints(item).values())
        if kind is typing.Literal:
            found.update(type(argument) for argument in typing.get_args(item) if isinstance(argument, enum.Enum))
        else:
            waiting.extend(argument for argument in typing.get_args(item) if argument is not Ellipsis)
    return frozenset(found)


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
