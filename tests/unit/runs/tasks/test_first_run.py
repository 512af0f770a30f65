from typing import Any

import pytest
from trigger_sdk.values.schema import payload_schema

from apps.runs.tasks.first_run import example_payload


def greet(name: str, times: int, is_loud: bool, words: list[str], note: str = "") -> None: ...


def rest() -> None: ...


@pytest.mark.parametrize(
    ("part", "example"),
    [
        ({"type": "string"}, "A1"),
        ({"type": "string", "minLength": 4}, "A111"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 2}, 3),
        ({"type": "boolean"}, True),
        ({"type": ["null", "string"]}, None),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"enum": ["slow", "fast"]}, "slow"),
        ({"const": 4}, 4),
        ({"type": "string", "examples": ["OK7"]}, "OK7"),
        ({"type": "string", "default": "x"}, "x"),
        ({"$ref": "#/$defs/Address"}, {"city": "A1"}),
        (True, "A1"),
    ],
)
def test_example_of_a_part(part: Any, example: Any) -> None:
    address = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    schema = {"type": "object", "properties": {"p": part}, "required": ["p"], "$defs": {"Address": address}}

    assert example_payload(schema) == {"p": example}


def test_example_has_what_a_signature_requires_and_no_more() -> None:
    assert example_payload(payload_schema(greet)) == {"name": "A1", "times": 1, "is_loud": True, "words": []}
    assert example_payload(payload_schema(rest)) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "required": ["p"], "properties": {"p": {"type": "string", "pattern": "^[0-9]+$"}}},
        {"type": "object", "required": ["p"], "properties": {"p": {"$ref": "#"}}},
        False,
    ],
)
def test_payload_that_cannot_be_thought_up_is_none(schema: Any) -> None:
    assert example_payload(schema) is None
