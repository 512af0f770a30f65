"""The first command that a newcomer copies: a deployed task with a payload that its schema accepts."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db.models import Case, F, QuerySet, Value, When

from apps.runs.models import TaskVersion
from apps.runs.tasks.payload_schemas import validator_of

FIRST_EXAMPLE = "process-order"
"""The example that the README describes; offered before any other task."""
CANDIDATES = 20
DEPTH_LIMIT = 20
TEXT = "A1"
"""With this value the order example fails once, which is worth seeing."""
TEXTS = {
    "date-time": "2026-01-01T12:00:00Z",
    "date": "2026-01-01",
    "time": "12:00:00",
    "duration": "PT1M",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "customer@example.com",
}
"""By the `format` of a text."""
BASE64 = "QTE="
NUMBER = "10.10"


def trigger_command() -> str:
    """The command for a shell; empty if no deployed task has a payload that can be made up."""
    for version in _candidates():
        payload = example_payload(version.payload_schema)
        if payload is not None:
            words = [settings.TRIGGER_COMMAND, "run", version.task_id]
            words += ["--payload", json.dumps(payload)] if payload else []
            return shlex.join([*words, "--follow"])
    return ""


def deploy_command() -> str:
    return f"{settings.PYTHON_COMMAND} manage.py deploy examples/orders"


def _candidates() -> QuerySet[TaskVersion]:
    is_first = Case(When(task_id=FIRST_EXAMPLE, then=Value(0)), default=Value(1))
    newest = {"deployment__current_tasks__id": F("task_id"), "deployment__current_tasks__is_retired": False}
    return TaskVersion.objects.filter(**newest).order_by(is_first, "task_id")[:CANDIDATES]


def example_payload(schema: Any) -> Any:
    """A small payload that the schema accepts; None if none was found."""
    payload = _example(schema, schema, 0)
    return payload if payload is not None and validator_of(schema).is_valid(payload) else None


def _example(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth > DEPTH_LIMIT:
        return TEXT
    if "const" in schema:
        return schema["const"]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    if "default" in schema:
        return schema["default"]
    if "$ref" in schema:
        return _example(_part(root, schema["$ref"]), root, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _example(schema[name][0], root, depth + 1)
    return _example_of_type(schema, root, depth)


def _example_of_type(schema: Mapping[str, Any], root: Any, depth: int) -> Any:
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    match kinds if isinstance(kinds, str) else kinds[0]:
        case "object":
            parts = schema.get("properties", {})
            return {name: _example(parts.get(name), root, depth + 1) for name in schema.get("required", ())}
        case "array":
            firsts = [_example(item, root, depth + 1) for item in schema.get("prefixItems", ())]
            more = schema.get("minItems", 0) - len(firsts)
            return [*firsts[: schema.get("minItems", 0)], *[_example(schema.get("items"), root, depth + 1)] * more]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            text = BASE64 if schema.get("contentEncoding") == "base64" else TEXTS.get(schema.get("format", ""), TEXT)
            return (NUMBER if schema.get("x-text") == "decimal" else text).ljust(schema.get("minLength", 0), "1")


def _part(root: Any, reference: str) -> Any:
    """The part of the schema that a local reference names, such as `#/$defs/Address`."""
    found = root
    for name in reference.removeprefix("#").split("/")[1:]:
        found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, Mapping) else {}
    return found
