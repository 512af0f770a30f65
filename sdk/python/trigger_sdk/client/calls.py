"""Triggering a task by its function: the task's id, the payload that its arguments make, and the type of its output."""

import base64
import dataclasses
import enum
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from trigger_sdk.compiler.resolve import plain_function, returned_by
from trigger_sdk.tasks import Task, registry
from trigger_sdk.values import codec
from trigger_sdk.values.annotations import is_model
from trigger_sdk.values.forms import format_duration
from trigger_sdk.values.shapes import restore

Path = tuple[str | int, ...]


class Call(NamedTuple):
    """What to trigger. `output` is the annotation of what the task returns, None if it has none."""

    task_id: str
    payload: dict[str, Any]
    output: Any


def call_of(task: "Task[..., Any] | Callable[..., Any]", arguments: Sequence[Any], named: Mapping[str, Any]) -> Call:
    """The call of a task with these arguments.

    TypeError for a function that is no task of this process, for arguments that do not fit it, and for values that a
    payload cannot hold; ValueError for a function that is several tasks.
    """
    found = task if isinstance(task, Task) else _registered(task)
    signature = inspect.signature(found.function)
    payload: dict[str, Any] = {}
    for name, value in signature.bind(*arguments, **named).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            payload.update({key: to_json(item, (key,)) for key, item in value.items()})
        else:
            payload[name] = to_json(value, (name,))
    plain = plain_function(found.function)
    output = returned_by(plain, is_awaited=inspect.iscoroutinefunction(plain))
    return Call(found.id, payload, output)


def read_output(output: Any, annotation: Any) -> Any:
    """The output of a run, as the task returned it."""
    if annotation is None or output is None:
        return output
    text = json.dumps(output, ensure_ascii=False).encode()
    return restore(codec.decode(text), annotation, "output")


def _registered(function: Callable[..., Any]) -> "Task[..., Any]":
    found = [task for task in registry.values() if task.function is function]
    name = getattr(function, "__qualname__", repr(function))
    if not found:
        raise TypeError(f"{name} is no task: give it @task(…), or trigger a task by its id")
    if len(found) > 1:
        ids = ", ".join(repr(task.id) for task in found)
        raise ValueError(f"{name} is several tasks ({ids}): trigger one by its id")
    return found[0]


def to_json(value: Any, path: Path) -> Any:
    """What stands for a value in a payload, where the task's annotations turn it back. TypeError names the path."""
    if isinstance(value, enum.Enum):
        return to_json(value.value, path)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if is_model(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    if isinstance(value, Mapping):
        return {_key(key, path): to_json(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        # In one order, so that the same trigger sent again is the same.
        return sorted((to_json(item, path) for item in value), key=repr)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [to_json(item, (*path, index)) for index, item in enumerate(value)]
    return _text(value, path)


def _text(value: Any, path: Path) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    kind = type(value).__qualname__
    if kind == "timedelta":
        return format_duration(value)
    if kind in ("Decimal", "UUID"):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(f"{_shown(path)}: a payload cannot hold a {kind}: give what JSON can hold")


def _key(key: Any, path: Path) -> str:
    if not isinstance(key, str):
        raise TypeError(f"{_shown(path)}: the key {key!r} is no text, and JSON has no others")
    return key


def _shown(path: Path) -> str:
    return ".".join(str(part) for part in path)
