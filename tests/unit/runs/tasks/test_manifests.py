"""What a deployment's manifest may contain, whoever wrote it: each field has its limit, the only error is a refusal."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trigger_sdk import Retry, task
from trigger_sdk.options import TaskOptions
from trigger_sdk.tasks import registry

from apps.http.errors import PayloadInvalid
from apps.runs.errors import DeploymentRefused
from apps.runs.tasks.manifests import read_manifest
from apps.runs.tasks.payload_schemas import validator_of
from apps.runs.trigger.payloads import validate_payload

POINT = {"key": "fetched", "line": 9, "names": ["order"]}


def a_task(**overrides: Any) -> dict[str, Any]:
    return {
        "id": "process-order", "options": {}, "payload_schema": {"type": "object"}, "resume_points": [POINT],
        "segments": ["a", "b"], "file": "tasks.py", "line": 7, **overrides,
    }  # fmt: skip


def refusal(*tasks: Any) -> dict[str, str]:
    """By path: what is wrong there."""
    with pytest.raises(DeploymentRefused) as refused:
        read_manifest("orders", {"tasks": list(tasks), "errors": []})
    return {error.path: error.message for error in refused.value.errors}


OPTIONS: list[tuple[str, Any, str]] = [
    ("queue", "q" * 129, "1 to 128 letters"),
    ("queue", "a b", "1 to 128 letters"),
    ("retry", None, "an object with max_attempts"),
    ("retry", [3], "an object with max_attempts"),
    ("retry.max_attempts", 251, "an integer from 1 to 250"),
    ("retry.max_attempts", True, "an integer from 1 to 250"),
    ("retry.max_attempts", 3.0, "an integer from 1 to 250"),
    ("retry.initial", -1, "a number from 0 to 2,592,000"),
    ("retry.factor", 0.5, "a number from 1 to 1,000"),
    ("retry.max", 10**400, "a number from 0 to 2,592,000"),
    ("retry.other", 1, "is unknown"),
    ("max_concurrency", 0, "an integer from 1 to 1,000,000"),
    ("max_concurrency_total", "5", "an integer from 1 to 1,000,000"),
    ("max_concurrency_total", 5, "together with concurrency_key"),
    ("concurrency_key", "customer_id", "payload.customer_id"),
    ("concurrency_key", 5, "payload.customer_id"),
    ("max_duration_seconds", 0, "a number from 1 to 604,800"),
    ("max_duration_seconds", None, "a number from 1 to 604,800"),
    ("memory_bytes", 1, "a size from 16MB to 1TB"),
    ("memory_bytes", "512MB", "must be a number"),
    ("retry_out_of_memory_bytes", 2**25, "a size from 512MB to 1TB"),
    ("disk_bytes", 2**60, "a size from 1MB to 1TB"),
    ("cpus", 0, "a number from 0.01 to 1,024"),
    ("warm_start", "hot", "one of 'fork', 'same_process', 'off'"),
    ("warm_start", ["fork"], "one of 'fork', 'same_process', 'off'"),
    ("rate_limit", "fast", "100/m"),
    ("rate_limit", "100/m\n", "100/m"),
    ("rate_limit_per_key", 5, "5/s"),
    ("ttl_seconds", 0, "a number from 1 to 31,536,000"),
    ("ttl_seconds", "60", "must be a number"),
    ("schedule", "* * * * *", "'cron'"),
    ("ttl", 60, "is unknown; the options are queue, retry"),
    ("warm_start", "f" * 10_000, "one of 'fork', 'same_process', 'off'"),
]


@pytest.mark.parametrize(("name", "value", "complaint"), OPTIONS)
def test_each_option_obeys_the_rules_of_the_python_sdk(name: str, value: Any, complaint: str) -> None:
    outer, _, inner = name.partition(".")

    found = refusal(a_task(options={outer: {inner: value} if inner else value}))

    assert found.keys() == {f"tasks[0].options.{name}"}
    (message,) = found.values()
    assert complaint in message
    assert message.endswith("(task 'process-order', tasks.py:7)")
    assert len(message) < 600


def test_every_option_has_a_wrong_value_here() -> None:
    assert {name.partition(".")[0] for name, _, _ in OPTIONS} >= set(TaskOptions._fields)


FIELDS: list[tuple[str, Any, str, str]] = [
    ("id", "x" * 129, "id", "1 to 128 letters"),
    ("id", "a/b", "id", "1 to 128 letters"),
    ("id", None, "id", "1 to 128 letters"),
    ("options", [], "options", "must be an object"),
    ("options", {"schedule": {"cron": "x" * 16_000}}, "options", "the limit is 16,000"),
    ("payload_schema", {"const": "\0"}, "payload_schema.const", "NUL"),
    ("payload_schema", {"const": "\ud800"}, "payload_schema.const", "surrogate"),
    ("options", {"ttl_seconds": float("nan")}, "options.ttl_seconds", "NaN"),
    ("resume_points", {}, "resume_points", "at most 1,000 resume points"),
    ("resume_points", [POINT] * 1_001, "resume_points", "at most 1,000 resume points"),
    ("resume_points", [5], "resume_points[0]", "must be an object"),
    ("resume_points", [{**POINT, "key": ""}], "resume_points[0].key", "1 to 200 characters"),
    ("resume_points", [{**POINT, "key": "k" * 201}], "resume_points[0].key", "1 to 200 characters"),
    ("resume_points", [{**POINT, "line": 2**31}], "resume_points[0].line", "from 0 to 2,147,483,647"),
    ("resume_points", [{**POINT, "names": [None]}], "resume_points[0].names[0]", "1 to 200 characters"),
    ("resume_points", [{**POINT, "needs": "order"}], "resume_points[0].needs", "a list of at most 1,000 texts"),
    ("resume_points", [{**POINT, "again": "client"}], "resume_points[0].again", "a list of at most 1,000 texts"),
    ("segments", ["a"], "segments", "one more than the 1 resume points"),
    ("segments", ["a", "b" * 65], "segments[1]", "1 to 64 characters"),
    ("segments", "ab", "segments", "a list of at most 1,001 texts"),
    ("file", "f" * 513, "file", "1 to 512 characters"),
    ("file", 5, "file", "1 to 512 characters"),
    ("line", -1, "line", "from 0 to 2,147,483,647"),
    ("line", 2**31, "line", "from 0 to 2,147,483,647"),
    ("line", True, "line", "from 0 to 2,147,483,647"),
]


@pytest.mark.parametrize(("name", "value", "path", "complaint"), FIELDS)
def test_each_field_of_a_task_has_its_limit(name: str, value: Any, path: str, complaint: str) -> None:
    found = refusal(a_task(**{name: value}))

    assert complaint in found[f"tasks[0].{path}"]


def chain(length: int, times: int) -> dict[str, Any]:
    """Each definition asks for the next one so many times."""
    links = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * times} for n in range(length)}
    return {"$defs": {**links, f"d{length}": {}}, "$ref": "#/$defs/d0"}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


SCHEMAS: dict[str, tuple[Any, str]] = {
    "missing": (None, "must be an object"),
    "a text": ("{}", "must be an object"),
    "no schema": ({"type": "objekt"}, "is not a JSON Schema"),
    "too large": ({"enum": ["x" * 1_000] * 300}, "the limit is 262,144"),
    "another dialect": ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema must be"),
    "elsewhere": ({"$ref": "http://127.0.0.1:9/x.json"}, "Retrieval is disabled"),
    "a file": ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "Retrieval is disabled"),
    "an anchor": ({"$ref": "#a", "$defs": {"a": {"$anchor": "a"}}}, "must begin with #/"),
    "look-around": ({"pattern": "^(a|a)*(?=c)b$"}, "linear time"),
    "a back-reference": ({"properties": {"a": {"pattern": r"(a*)*\1"}}}, "linear time"),
    "a pattern of names": ({"patternProperties": {"(?!a)": {}}}, "can be checked"),
    "a huge pattern": ({"pattern": r"(\w{1000}){1000}"}, "can be checked"),
    "many patterns": ({"anyOf": [{"pattern": f"a{n}"} for n in range(501)]}, "the limit is 500"),
    "parts that multiply": (chain(40, 2), "its parts multiply"),
    "parts that multiply downwards": (
        {"$defs": {f"d{n}": {"patternProperties": {p: {"$ref": f"#/$defs/d{n + 1}"} for p in "abcdefgh"}}
                   for n in range(20)} | {"d20": {}}, "$ref": "#/$defs/d0"}, "its parts multiply"),
    "a long chain": (chain(150, 1), "lead here"),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_that_could_stall_or_leave_the_house_is_refused(name: str) -> None:
    schema, complaint = SCHEMAS[name]

    found = refusal(a_task(payload_schema=schema))

    assert complaint in found["tasks[0].payload_schema"]


def test_schema_that_is_nested_too_deep_is_refused_with_the_path() -> None:
    (message,) = refusal(a_task(payload_schema=nested(100))).values()

    assert "64" in message


def test_recursive_schema_is_kept() -> None:
    tree = {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}

    (kept,) = read_manifest("orders", {"tasks": [a_task(payload_schema=tree)]})

    assert validator_of(kept["payload_schema"]).is_valid({"children": [{"children": []}]})


@pytest.mark.parametrize("tasks", [None, {}, "x", [None], [[]], [a_task()] * 1_001])
def test_manifest_that_holds_no_tasks_is_refused(tasks: Any) -> None:
    with pytest.raises(DeploymentRefused):
        read_manifest("orders", {"tasks": tasks})


def test_what_the_python_sdk_describes_is_accepted() -> None:
    @task(
        id="described", queue="mail", concurrency_key="payload.customer", max_concurrency_total=5, rate_limit="5/s",
        retry=Retry(max_attempts=5), memory="1GB", retry_out_of_memory="2GB", ttl=60, cpus=0.5,
        schedule={"cron": "@daily"},
    )  # fmt: skip
    def described(customer: str, amounts: list[int] | None = None) -> None: ...

    described_task = registry.pop("described")
    manifest = json.loads(json.dumps(described_task.describe()))

    (kept,) = read_manifest("orders", {"tasks": [manifest]})

    assert TaskOptions.from_json("described", kept["options"]) == described_task.options


scalars = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keywords = st.sampled_from(
    ["$ref", "$defs", "$id", "$anchor", "$dynamicRef", "allOf", "anyOf", "not", "properties", "patternProperties",
     "items", "prefixItems", "pattern", "type", "enum", "$schema", "x-extra", "required", "dependentSchemas"]
)  # fmt: skip
values = st.sampled_from(
    ["#", "#/$defs/a", "#/allOf/0", "#/x-extra", "(?=a)", "a+", "object", "file:///etc/passwd", "a"]
)
schemas = st.recursive(
    scalars | values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keywords | st.sampled_from("ab"), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=500)
@given(
    name=st.sampled_from(["id", "options", "payload_schema", "resume_points", "segments", "file", "line"]),
    value=anything,
    options=st.dictionaries(st.sampled_from(TaskOptions._fields), anything, max_size=3),
    schema=schemas,
    errors=anything,
)
def test_whatever_is_sent_is_kept_or_refused(name: str, value: Any, options: Any, schema: Any, errors: Any) -> None:
    manifest = {"tasks": [a_task(**{"options": options, "payload_schema": schema, name: value})], "errors": errors}
    try:
        (kept,) = read_manifest("orders", manifest)
    except DeploymentRefused:
        return
    TaskOptions.from_json(kept["id"], kept["options"])
    validator_of(kept["payload_schema"]).is_valid({"a": [{"b": "a" * 100}]})


def test_schema_that_was_stored_when_more_was_allowed_refuses_the_payload_and_says_why() -> None:
    with pytest.raises(PayloadInvalid, match="deploy the task again") as refused:
        validate_payload({}, '{"properties": {"a": {"pattern": "(?=a)"}}}')

    assert [error.path for error in refused.value.errors] == ["payload"]
