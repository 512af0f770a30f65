"""The JSON Schema (2020-12) of one annotation: as strict as `shapes.convert`, which reads what the schema lets in."""

import sys
import types
import typing
from typing import Any

from trigger_sdk.values.annotations import (
    UnsupportedAnnotationError,
    alias_value,
    class_of,
    field_hints,
    given_fields,
    is_alias,
    is_dataclass,
    is_enum,
    is_model,
    is_named_tuple,
    required_fields,
    strip,
)
from trigger_sdk.values.definitions import Definitions
from trigger_sdk.values.model_schema import MARK, model_schema
from trigger_sdk.values.scalars import is_path
from trigger_sdk.values.shapes import CONTAINERS
from trigger_sdk.values.texts import DECIMAL, json_form

_FLOAT_MAX = sys.float_info.max
_PLAIN: dict[Any, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    # An integer beyond them has no float.
    float: {"type": "number", "minimum": -_FLOAT_MAX, "maximum": _FLOAT_MAX},
    str: {"type": "string"},
    types.NoneType: {"type": "null"},
    bytes: {"type": "string", "contentEncoding": "base64", MARK: "bytes"},
}
_TEXTS: dict[str, dict[str, Any]] = {
    "datetime.datetime": {"type": "string", "format": "date-time", MARK: "datetime"},
    "datetime.date": {"type": "string", "format": "date", MARK: "date"},
    "datetime.time": {"type": "string", "format": "time", MARK: "time"},
    "datetime.timedelta": {"type": "string", "format": "duration", MARK: "timedelta"},
    "uuid.UUID": {"type": "string", "format": "uuid", MARK: "uuid"},
    "decimal.Decimal": {"type": ["string", "number"], "pattern": DECIMAL, MARK: "decimal"},
}
_HASHED: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
"""Any value of JSON that can be in a set."""


def describe(annotation: Any, definitions: Definitions, *, is_hashed: bool = False) -> dict[str, Any]:
    """The schema of an annotation; `is_hashed` where the value will be in a set. UnsupportedAnnotationError if nothing
    in JSON can be read as it."""
    annotation = strip(annotation, keeps_alias=True)
    if is_alias(class_of(annotation)) and not is_hashed:
        # As a definition, because an alias may refer to itself.
        alias = annotation
        return definitions.reference(alias, lambda: describe(alias_value(alias), definitions))
    annotation = strip(annotation)
    if annotation in (Any, object) or isinstance(annotation, typing.TypeVar):
        return dict(_HASHED) if is_hashed else {}
    kind = class_of(types.NoneType if annotation is None else annotation)
    if is_hashed and (part := unhashable_part(annotation)) is not None:
        raise UnsupportedAnnotationError(annotation, f"cannot be in a set{part}")
    if isinstance(kind, type) and (single := _single(kind)) is not None:
        return single
    if is_model(annotation):
        return definitions.reference(annotation, lambda: definitions.add(*model_schema(annotation)))
    if typing.is_typeddict(kind) or is_dataclass(kind):
        return definitions.reference(annotation, lambda: _fields(annotation, definitions))
    if is_named_tuple(kind):
        return definitions.reference(annotation, lambda: _named_tuple(annotation, definitions))
    return _generic(annotation, definitions, is_hashed=is_hashed)


def _single(kind: type) -> dict[str, Any] | None:
    """The schema of a class whose values are single ones."""
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    if is_enum(kind):
        return _choices([member.value for member in kind], kind)  # type: ignore[attr-defined]
    if is_path(kind):
        return {"type": "string", "format": "path"}
    text = _TEXTS.get(f"{kind.__module__}.{kind.__qualname__}")
    return None if text is None else dict(text)


def _choices(values: list[Any], annotation: Any) -> dict[str, Any]:
    try:
        forms = [json_form(value) for value in values]
    except ValueError as error:
        raise UnsupportedAnnotationError(annotation, f"has a value that no payload can have: {error}") from None
    return {"enum": forms}


def _fields(annotation: Any, definitions: Definitions) -> dict[str, Any]:
    kind, hints, required = class_of(annotation), given_fields(annotation), required_fields(annotation)
    return {
        "x-class": f"{kind.__module__}.{kind.__qualname__}",
        "type": "object",
        "properties": {name: describe(hint, definitions) for name, hint in hints.items()},
        "required": [name for name in hints if name in required],
        "additionalProperties": False,
    }


def _named_tuple(annotation: Any, definitions: Definitions) -> dict[str, Any]:
    kind = class_of(annotation)
    items = [{**describe(hint, definitions), "title": name} for name, hint in given_fields(annotation).items()]
    described = _fixed_array(items, len(required_fields(annotation)))
    return {"x-class": f"{kind.__module__}.{kind.__qualname__}", **described}


def _generic(annotation: Any, definitions: Definitions, *, is_hashed: bool) -> dict[str, Any]:
    kind, arguments = class_of(annotation), typing.get_args(annotation)
    if kind is typing.Literal:
        return _choices(
            [getattr(item, "value", item) if is_enum(type(item)) else item for item in arguments], annotation
        )
    if kind in (typing.Union, types.UnionType):
        return {"anyOf": [describe(option, definitions, is_hashed=is_hashed) for option in arguments]}
    allowed = CONTAINERS.get(kind)
    if allowed is None:
        raise UnsupportedAnnotationError(annotation)
    item = arguments[0] if arguments else Any
    if allowed == (dict,):
        if arguments and strip(item) not in (str, Any):
            raise UnsupportedAnnotationError(annotation, "has keys that are not str: JSON has no others")
        return {"type": "object", "additionalProperties": describe(arguments[1] if arguments else Any, definitions)}
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [] if arguments == ((),) else [describe(part, definitions, is_hashed=is_hashed) for part in arguments]
        return _fixed_array(items, len(items))
    is_hashed = is_hashed or allowed[0] in (set, frozenset)
    return {"type": "array", "items": describe(item, definitions, is_hashed=is_hashed)}


def _fixed_array(items: list[dict[str, Any]], at_least: int) -> dict[str, Any]:
    return {"type": "array", "prefixItems": items, "items": False, "minItems": at_least}


def unhashable_part(annotation: Any, seen: tuple[Any, ...] = ()) -> str | None:
    """Why values of an annotation cannot always be in a set, as the rest of a sentence; None if they can.

    Any itself can, because only single values are let through for it; a class's field of type Any cannot.
    """
    annotation = strip(annotation)
    kind, arguments = class_of(annotation), typing.get_args(annotation)
    if annotation in seen or kind is typing.Literal:
        return None
    seen = (*seen, annotation)
    if kind in (typing.Union, types.UnionType) or (kind in CONTAINERS and CONTAINERS[kind][0] in (tuple, frozenset)):
        return next(filter(None, (unhashable_part(part, seen) for part in arguments if part is not Ellipsis)), None)
    if kind in CONTAINERS or typing.is_typeddict(kind) or getattr(kind, "__hash__", None) is None:
        return f": a {kind.__name__} is not hashable"
    for name, hint in _hashed_fields(annotation, kind).items():
        part = ": it may be anything" if strip(hint) in (Any, object) else unhashable_part(hint, seen)
        if part is not None:
            return f", because of its field `{name}`{part}"
    return None


def _hashed_fields(annotation: Any, kind: Any) -> dict[str, Any]:
    """The fields that the hash of a class is made from; none for a class that has a hash of its own."""
    if is_named_tuple(kind):
        return field_hints(annotation)
    if is_model(kind):
        return {name: field.annotation for name, field in getattr(kind, "model_fields", {}).items()}
    if not is_dataclass(kind):
        return {}
    parameters: Any = kind.__dataclass_params__
    return given_fields(annotation) if (parameters.eq and parameters.frozen) or parameters.unsafe_hash else {}
