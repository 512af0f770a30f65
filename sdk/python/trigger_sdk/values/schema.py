"""What a task's payload must look like: the JSON Schema (2020-12) of its parameters, and binding a payload to them.

A payload is a JSON object of parameter names; a task without parameters also takes null. Texts represent what JSON
lacks: `date-time`, `date`, `time`, `duration` (ISO 8601), `uuid`, base64 for bytes, decimal numbers as text.
"""

import contextlib
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from trigger_sdk.errors import PayloadError
from trigger_sdk.values.annotations import UnsupportedAnnotationError
from trigger_sdk.values.definitions import Definitions
from trigger_sdk.values.described import describe
from trigger_sdk.values.shapes import convert
from trigger_sdk.values.strict_json import path_of

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
    definitions = Definitions()
    properties: dict[str, Any] = {}
    required: list[str] = []
    parameters = parameters_of(function)
    for name, parameter in parameters.items():
        try:
            entry = describe(hints.get(name, Any), definitions)
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
        "additionalProperties": False if extra is None else describe(hints.get(extra, Any), definitions),
    }
    if extra is not None:
        schema["x-extra"] = extra
    return {**schema, "$defs": definitions.entries} if definitions.entries else schema


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
