"""One list of trigger options for every entry point, and what is kept of them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from trigger_sdk.trigger_options import TRIGGER_OPTIONS, Integer, Text, Texts, TriggerOptions

from apps.runs.api.schemas import TriggerOptionsIn
from apps.runs.models import MAX_ATTEMPTS_LIMIT, PRIORITY_RANGE, Run, RunValue
from apps.runs.trigger.idempotency import body_hash
from apps.runs.trigger.options import HTTP, PYTHON, read_options
from apps.runs.trigger.orders import Item, Order

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ALL: TriggerOptions = {
    "queue": "fast",
    "priority": 5,
    "concurrency_key": "",
    "delay": timedelta(minutes=10),
    "ttl": 90,
    "idempotency_key": "k",
    "idempotency_key_ttl": 86_400,
    "tags": ["b", "a"],
    "max_attempts": 7,
    "metadata": {"who": "mé", "n": [1, 2.5]},
    "traceparent": TRACE,
}


def order_of(options: TriggerOptions) -> Order:
    terms: Any = None
    given = read_options(options, PYTHON)
    return Order(Item("t"), UUID(int=1), terms, given, "", {"order_id": "A1"}, "")


def test_every_door_has_every_option() -> None:
    wire_names = [option.wire_name for option in TRIGGER_OPTIONS.values()]

    assert list(PYTHON) == list(TRIGGER_OPTIONS) == list(TriggerOptions.__annotations__)
    assert list(HTTP) == list(TriggerOptionsIn.model_fields) == wire_names


def test_columns_hold_what_the_list_allows() -> None:
    columns = {field.name: field for field in (*Run._meta.concrete_fields, *RunValue._meta.concrete_fields)}
    texts = {name: option.kind.most for name, option in TRIGGER_OPTIONS.items() if isinstance(option.kind, Text)}

    assert {name: columns[name].max_length for name in texts} == texts
    tags: Any = columns["tags"]
    kind = TRIGGER_OPTIONS["tags"].kind
    assert kind == Texts(tags.size, Text(1, tags.base_field.max_length))
    assert TRIGGER_OPTIONS["priority"].kind == Integer(*PRIORITY_RANGE)
    assert TRIGGER_OPTIONS["max_attempts"].kind == Integer(1, MAX_ATTEMPTS_LIMIT)
    assert columns["traceparent"].max_length == len(TRACE)


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        ({}, "d8cb595d3a12521e2a0f8e1ecf9e0574c7ae2aa627c93f3842af91f11b74a46a"),
        ({"priority": 0, "delay": 0, "tags": []}, "d8cb595d3a12521e2a0f8e1ecf9e0574c7ae2aa627c93f3842af91f11b74a46a"),
        (ALL, "237b00615740b1fe636ad98530a8129518106b1d3aad22655616eb52acb95abd"),
        (
            {"run_at": datetime(2026, 12, 1, 8, tzinfo=UTC)},
            "13999684cd7a49f75a67c7108483a7de3ba71b1c1c4dfc6021a8299eeabf0ca9",
        ),
        ({"run_at": "2026-12-01T09:00:00+01:00"}, "13999684cd7a49f75a67c7108483a7de3ba71b1c1c4dfc6021a8299eeabf0ca9"),
    ],
    ids=["none", "as by default", "all", "a time", "a time as text"],
)
def test_keys_that_are_stored_stay_good(options: TriggerOptions, digest: str) -> None:
    assert body_hash(order_of(options)).hex() == digest


def test_trace_and_key_are_no_part_of_what_was_asked() -> None:
    assert body_hash(order_of({"traceparent": TRACE, "idempotency_key": "k"})) == body_hash(order_of({}))
