"""What a caller wants triggered, judged by its task's terms: all that a new run is frozen with. Writes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from trigger_sdk.trigger_options import LONGEST_SECONDS

from apps.http.errors import FieldError, Refusal
from apps.runs.tasks.terms import Reading, TaskTerms
from apps.runs.trigger.options import Door, Given, read_options, refuse_options
from apps.runs.trigger.payloads import read_payload, validate_payload

FARTHEST = timedelta(seconds=LONGEST_SECONDS)


@dataclass(frozen=True, slots=True)
class Item:
    """One wish. `place` is where it stands in a batch, as `items[3]`; empty for one alone."""

    task: str
    payload: Any = None
    options: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


@dataclass(slots=True)
class Order:
    """A wish that nothing speaks against but what other runs may. `payload` is the value that the text is read as."""

    item: Item
    run_id: UUID
    terms: TaskTerms
    given: Given
    payload_text: str
    payload: Any
    concurrency_key: str

    @property
    def queue(self) -> str:
        return self.given.get("queue") or self.terms.queue

    @property
    def max_attempts(self) -> int:
        return self.given.get("max_attempts") or self.terms.max_attempts

    @property
    def row(self) -> dict[str, Any]:
        """As `insert_runs.sql` takes it."""
        given = self.given
        return {
            **given,
            "id": self.run_id,
            "task_id": self.item.task,
            "queue": self.queue,
            "priority": given.get("priority", 0),
            "concurrency_key": self.concurrency_key,
            "max_attempts": self.max_attempts,
            "tags": array_literal(given.get("tags", ())),
            "idempotency_key": given.get("idempotency_key", ""),
            "payload": self.payload_text,
            "traceparent": given.get("traceparent", ""),
            "ttl_seconds": given.get("ttl_seconds") or self.terms.ttl_seconds,
        }


def judge(item: Item, run_id: UUID, reading: Reading, door: Door, *, is_parsed: bool) -> Order:
    """The order; raises what `trigger` raises of the task, the payload and the options."""
    try:
        terms = reading.of(item.task)
        given = read_options(item.options, door)
        _refuse_far_future(given, reading.now)
        text, payload = read_payload(item.payload, is_parsed=is_parsed)
        validate_payload(payload, terms.payload_schema)
        key = given.get("concurrency_key")
        if key is None:
            key = terms.concurrency_key(payload)
    except Refusal as refusal:
        if item.place:
            raise refusal.within(item.place) from refusal.__cause__
        raise
    return Order(item, run_id, terms, given, text, payload, key)


def array_literal(texts: Collection[str]) -> str:
    """A Postgres array of texts, as text."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def _refuse_far_future(given: Given, now: datetime) -> None:
    if "run_at" in given and given["run_at"] - now > FARTHEST:
        refuse_options(FieldError("options.run_at", f"may be {FARTHEST.days} days ahead at most"))
