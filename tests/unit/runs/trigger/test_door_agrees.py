"""The door and the reader agree: a payload is accepted by the server if, and only if, the task can read it.

They share no code for structure: the door has the task's JSON Schema, the reader its annotations. What pydantic checks
beyond its own schema the door cannot know; so for models the other direction is tested: what is let in is read.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from trigger_sdk.errors import PayloadError
from trigger_sdk.values.annotations import is_model, named_classes
from trigger_sdk.values.schema import SignatureError, bind_payload, payload_schema

from apps.http.errors import PayloadInvalid
from apps.runs.tasks.payload_schemas import check_schema
from apps.runs.trigger.payloads import validate_payload
from tests.unit.runs.trigger.generated_payloads import annotations, json_for

VALUES = 20
"""For each annotation."""
SAMPLE, WHOLE, PARTS = 40, 1_300, 4
"""Annotations; the whole is 100,000 pairs, in parts that each end in time."""


def with_parameter(annotation: Any) -> Callable[..., Any]:
    def function(x: Any) -> None: ...

    function.__annotations__["x"] = annotation
    return function


def at_the_door(payload: Any, schema: str) -> str | None:
    try:
        validate_payload(payload, schema)
    except PayloadInvalid as refused:
        return str(refused)
    return None


def in_the_task(function: Callable[..., Any], payload: Any) -> str | None:
    try:
        bind_payload(function, payload)
    except PayloadError as refused:
        return str(refused)
    return None


@pytest.mark.parametrize(
    ("count", "part"),
    [(SAMPLE, 0), *(pytest.param(WHOLE, part, marks=pytest.mark.long) for part in range(1, PARTS + 1))],
)
def test_what_the_door_lets_in_the_task_can_read(count: int, part: int) -> None:
    pairs = accepted = unreadable = 0

    @seed(part)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(annotations, st.integers(0, 2**32))
    def examine(annotation: Any, number: int) -> None:
        nonlocal pairs, accepted, unreadable
        function, random = with_parameter(annotation), Random(number)
        try:
            described = payload_schema(function)
        except SignatureError:  # of a set of lists, and the like
            unreadable += 1
            return
        schema = json.dumps(described)
        check_schema(json.loads(schema))
        is_known_in_full = not any(map(is_model, named_classes(annotation)))
        for _ in range(VALUES):
            payload = json.loads(json.dumps({"x": json_for(random, annotation)}))

            door, task = at_the_door(payload, schema), in_the_task(function, payload)

            pairs += 1
            accepted += door is None
            assert door is not None or task is None, f"let in, but not readable: {payload} as {annotation}: {task}"
            if is_known_in_full:
                assert door is None or task is not None, f"readable, but refused: {payload} as {annotation}: {door}"

    examine()

    print(f"{pairs:,} pairs, {accepted:,} of them accepted; {unreadable} annotations that no payload can fill")
    assert count // 2 * VALUES < pairs
    assert pairs // 5 < accepted < pairs * 4 // 5
