"""What a task's payload must look like: the JSON Schema (2020-12) of its parameters, and binding a payload to them.

A payload is a JSON object of parameter names; a task without parameters also takes null. Texts represent what JSON
lacks: `date-time`, `date`, `time`, `duration` (ISO 8601), `uuid`, base64 for bytes, decimal numbers as text.
"""

import contextlib
import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from trigger_sdk.errors import PayloadError
from trigger_sdk.values.shapes import UnsupportedAnnotationError, class_hints, convert, family_of, is_model, strip
from trigger_sdk.values.strict_json import path_of

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", types.NoneType: "null"}
_TEXT_FORMATS = {
    "datetime.datetime": "date-time",
    "datetime.date": "date",
    "datetime.time": "time",
    "datetime.timedelta": "duration",
    "uuid.UUID": "uuid",
}
_FILLABLE = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)

Read = TypeVar("Read")


class SignatureError(Exception):
    """A parameter that no payload can fill. `name` is the parameter's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def _kept_per_function(read: Callable[[Callable[..., Any]], Read]) -> Callable[[Callable[..., Any]], Read]:
    """Caches what was read from a function for as long as somebody else holds that function."""
    known: WeakKeyDictionary[Callable[..., Any], Read] = WeakKeyDictionary()

    @functools.wraps(read)
    def look_up(function: Callable[..., Any]) -> Read:
        if function in known:
            return known[function]
        found = read(function)
        with contextlib.suppress(TypeError):  # a callable that does not support weak references
            known[function] = found
        return found

    return look_up


@_kept_per_function
def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that a payload fills, all by name; SignatureError for `*args`."""
    fillable: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in _FILLABLE:
            fillable[name] = parameter
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            raise SignatureError(
                name, f"a payload fills parameters by name, which *{name} does not allow: give each a name"
            )
    return fillable


@_kept_per_function
def extra_name(function: Callable[..., Any]) -> str | None:
    """The name of `**kwargs`, None if the function has none."""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            return name
    return None


@_kept_per_function
def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The evaluated annotations of a function, below its decorators."""
    return typing.get_type_hints(inspect.unwrap(function), include_extras=True)


def payload_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """The JSON Schema of a function's parameters. SignatureError names a parameter that no JSON can fill."""
    try:
        hints = annotations_of(function)
    except NameError as error:
        raise SignatureError("", f"an annotation cannot be read: {error}; define or import it in this file") from None
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters = parameters_of(function)
    for name, parameter in parameters.items():
        try:
            entry = _schema(hints.get(name, Any), definitions)
        except UnsupportedAnnotationError as error:
            raise SignatureError(
                name, f"the parameter `{name}`: {error}; annotate it with what JSON can hold"
            ) from None
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, (str, int, float, bool, types.NoneType)):
            entry = {**entry, "default": parameter.default}
        properties[name] = entry
    extra = extra_name(function)
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object" if parameters or extra is not None else ["object", "null"],
        "properties": properties,
        "required": required,
        "additionalProperties": False if extra is None else _schema(hints.get(extra, Any), definitions),
    }
    if extra is not None:
        schema["x-extra"] = extra
    return {**schema, "$defs": definitions} if definitions else schema


def bind_payload(function: Callable[..., Any], payload: Any) -> dict[str, Any]:
    """The keyword arguments for a payload, converted by annotation. PayloadError names the path of a wrong value."""
    parameters = parameters_of(function)
    extra = extra_name(function)
    if payload is None and not parameters and extra is None:
        return {}
    if type(payload) is not dict:
        raise PayloadError("$", "must be an object of parameter names")
    hints = annotations_of(function)
    for name, parameter in parameters.items():
        if name not in payload and parameter.default is inspect.Parameter.empty:
            raise PayloadError(path_of([name]), "is missing")
    if extra is None:
        for name in payload:
            if name not in parameters:
                known = ", ".join(parameters) or "none"
                raise PayloadError(path_of([name]), f"is not a parameter of the task (it has {known})")
    return {
        name: convert(value, hints.get(name if name in parameters else extra or "", Any), (name,))
        for name, value in payload.items()
    }


def _schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    annotation = strip(annotation)
    if annotation in (Any, object) or isinstance(annotation, typing.TypeVar):
        return {}
    if annotation is None:
        return {"type": "null"}
    if isinstance(annotation, type) and (scalar := _scalar_schema(annotation)):
        return scalar
    if is_model(annotation):
        return _model_schema(annotation, definitions)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return {"enum": [member.value for member in annotation]}
    if typing.is_typeddict(annotation) or (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return _fields_schema(annotation, definitions)
    return _generic_schema(annotation, definitions)


def _scalar_schema(kind: type) -> dict[str, Any] | None:
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    if kind is bytes:
        return {"type": "string", "contentEncoding": "base64"}
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name == "decimal.Decimal":
        return {"type": ["string", "number"], "pattern": r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"}
    return {"type": "string", "format": _TEXT_FORMATS[name]} if name in _TEXT_FORMATS else None


def _model_schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = kind.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    definitions.setdefault(kind.__name__, schema)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _fields_schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    reference = {"$ref": f"#/$defs/{kind.__name__}"}
    known = definitions.get(kind.__name__)
    if known is not None:
        if known.get("x-class") != f"{kind.__module__}.{kind.__qualname__}":
            raise UnsupportedAnnotationError(
                kind, "shares its name with another class of this task's parameters: rename one"
            )
        return reference
    # Added before its fields, because they may refer to the class itself.
    entry: dict[str, Any] = {"x-class": f"{kind.__module__}.{kind.__qualname__}"}
    definitions[kind.__name__] = entry
    hints = class_hints(kind)
    if typing.is_typeddict(kind):
        names, required = list(hints), sorted(kind.__required_keys__)
    else:
        missing = dataclasses.MISSING
        fields = [field for field in dataclasses.fields(kind) if field.init]
        names = [field.name for field in fields]
        required = [field.name for field in fields if field.default is missing and field.default_factory is missing]
    entry["type"] = "object"
    entry["properties"] = {name: _schema(hints[name], definitions) for name in names}
    entry["required"] = required
    entry["additionalProperties"] = False
    return reference


def _generic_schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_schema(option, definitions) for option in arguments]}
    family = family_of(origin or annotation)
    item = arguments[0] if arguments else Any
    if family is dict:
        if arguments and strip(item) not in (str, Any):
            raise UnsupportedAnnotationError(annotation, "has keys that are not str: JSON has no others")
        return {"type": "object", "additionalProperties": _schema(arguments[1] if arguments else Any, definitions)}
    if family is None:
        raise UnsupportedAnnotationError(annotation)
    if family is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [] if arguments == ((),) else [_schema(option, definitions) for option in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    schema = {"type": "array", "items": _schema(item, definitions)}
    return {**schema, "uniqueItems": True} if family is set else schema
