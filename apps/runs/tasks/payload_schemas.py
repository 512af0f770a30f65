"""Payload schemas of tasks: which JSON Schemas are allowed, so that checking a payload stays quick. Pure.

A schema comes from a task's image, so it is checked like any other input: it names nothing outside itself, its patterns
match in linear time (no look-around, no back-references), and its parts do not multiply each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from apps.runs.tasks.payload_texts import MARK, TextCheck

SCHEMA_MAX_BYTES = 256 * 1024
SCHEMA_MAX_DEPTH = 64
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PATTERN_LIMIT = 500
PATTERN_MAX_BYTES = 100_000
"""One compiled pattern."""
CHAIN_LIMIT = 200
"""References and parts on the way from the schema to its innermost part."""
WORK_LIMIT = 10_000
"""Parts of a schema that may be compared with one place of a payload, enclosing parts included. References to
references can require any number of them: n references that each name the next one twice make 2^n."""

LISTS = ("allOf", "anyOf", "oneOf")
SINGLES = (
    "not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "items", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
MAPS = ("dependentSchemas", "patternProperties")


class SchemaRefused(ValueError):
    """The text names the part, and the limit if there is one."""


def validator_of(schema: Any) -> Any:
    """The compiled schema. Raises ValueError if it is not a schema, or uses what is not allowed (see above)."""
    options = jsonschema_rs.RegexOptions(size_limit=PATTERN_MAX_BYTES)
    keywords: dict[str, Any] = {MARK: TextCheck}
    return jsonschema_rs.Draft202012Validator(schema, offline=True, pattern_options=options, keywords=keywords)


def check_schema(schema: Any) -> None:
    """Raises SchemaRefused if a deployment cannot have this schema. The caller has bounded its depth."""
    if not isinstance(schema, Mapping):
        raise SchemaRefused("must be an object: a JSON Schema (2020-12)")
    if (size := len(json.dumps(schema))) > SCHEMA_MAX_BYTES:
        raise SchemaRefused(f"has {size:,} bytes; the limit is {SCHEMA_MAX_BYTES:,}")
    if (dialect := schema.get("$schema", DIALECT)) not in (DIALECT, f"{DIALECT}#"):
        raise SchemaRefused(f"$schema must be {DIALECT}, not {dialect!r:.200}")
    if (count := sum(1 for _ in _patterns(schema))) > PATTERN_LIMIT:
        raise SchemaRefused(f"has {count:,} patterns; the limit is {PATTERN_LIMIT}")
    try:
        validator_of(schema)
    except ValueError as error:
        reason = str(error).split("\n")[0]
        hint = " in linear time (look-around and back-references are not allowed)" if 'not a "regex"' in reason else ""
        raise SchemaRefused(f"is not a JSON Schema that can be checked{hint}: {reason:.300}") from None
    _Work(schema).of(schema, "#", 0)


class _Work:
    """Counts the parts that one place of a payload may be compared with."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._known: dict[int, int] = {}

    def of(self, schema: Any, path: str, depth: int) -> int:
        """Raises SchemaRefused. A part that leads back to itself counts once: each round either descends in the
        payload or is skipped by the validator."""
        if not isinstance(schema, Mapping):
            return 1
        if id(schema) in self._known:
            return self._known[id(schema)]
        if depth > CHAIN_LIMIT:
            raise SchemaRefused(f"{path}: more than {CHAIN_LIMIT} references and parts lead here")
        self._known[id(schema)] = 0
        work = 1 + sum(self.of(part, where, depth + 1) for where, part in self._parts(schema, path))
        for parts in (_map(schema, "properties").values(), _list(schema, "prefixItems")):  # one of them per value
            work += max((self.of(part, path, depth + 1) for part in parts), default=0)
        if work > WORK_LIMIT:
            raise SchemaRefused(
                f"{path}: its parts multiply: more than {WORK_LIMIT:,} may have to be compared with one value"
            )
        self._known[id(schema)] = work
        return work

    def _parts(self, schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
        """The parts that may all be compared with the same value."""
        for name in ("$ref", "$dynamicRef"):
            if name in schema:
                yield f"{path}/{name}", self._target(schema[name], f"{path}/{name}")
        if "$id" in schema and schema is not self._root:
            raise SchemaRefused(f"{path}/$id: only the whole schema may have an $id")
        for name in LISTS:
            yield from ((f"{path}/{name}/{n}", part) for n, part in enumerate(_list(schema, name)))
        for name in SINGLES:
            if name in schema:
                yield f"{path}/{name}", schema[name]
        for name in MAPS:
            yield from ((f"{path}/{name}/{key:.200}", part) for key, part in _map(schema, name).items())

    def _target(self, reference: Any, path: str) -> Any:
        if not isinstance(reference, str) or (reference != "#" and not reference.startswith("#/")):
            raise SchemaRefused(f"{path}: must begin with #/ (a place in this schema), not {reference!r:.200}")
        found: Any = self._root
        try:
            for name in reference.split("/")[1:]:
                name = unquote(name).replace("~1", "/").replace("~0", "~")
                found = found[int(name)] if isinstance(found, list) else found[name]
        except (LookupError, TypeError, ValueError):
            raise SchemaRefused(f"{path}: there is no {reference!r:.200}") from None
        return found


def _list(schema: Mapping[str, Any], name: str) -> list[Any]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _map(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = schema.get(name)
    return found if isinstance(found, Mapping) else {}


def _patterns(value: Any) -> Iterator[str]:
    """Everything that may be a pattern."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, Mapping):
            if isinstance(each.get("pattern"), str):
                yield each["pattern"]
            if isinstance(each.get("patternProperties"), Mapping):
                yield from each["patternProperties"]
            left += each.values()
        elif isinstance(each, list):
            left += each
