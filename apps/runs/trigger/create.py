"""The verbs that make runs: one, or a batch of which all or none. What may be asked for is in `options.py`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from typing import Any, NoReturn, Unpack
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.db.models.base import ModelState
from trigger_sdk.trigger_options import TriggerOptions

from apps.http.errors import FieldError
from apps.live.notify import announce_runs
from apps.runs.errors import BatchInvalid
from apps.runs.models import Run, RunValue
from apps.runs.states import RunState
from apps.runs.tasks.terms import read_terms
from apps.runs.trigger.admission import bounds_of
from apps.runs.trigger.idempotency import settle_keys
from apps.runs.trigger.options import PYTHON, Door
from apps.runs.trigger.orders import Item, Order, judge
from apps.storage.ids import uuid7
from apps.storage.statements import statement

BATCH_LIMIT = 1000
ITEM_FIELDS = ("task", "payload", "options")

INSERT_RUNS = statement(__file__, "insert_runs")

BLANK: dict[str, Any] = {
    field.attname: field.get_default()
    for field in Run._meta.concrete_fields  # noqa: SLF001 - Django's documented API
}
"""A new run's columns in their order."""


def trigger(task: str, payload: Any = None, **options: Unpack[TriggerOptions]) -> Run:
    """A new run of the task, pending or delayed, committed before this returns unless the caller's transaction is open.

    With an `idempotency_key` that is known it is the run of that key (`is_duplicate`). Raises TaskNotFound (naming near
    misses), TaskRetired, PayloadInvalid, PayloadTooLarge, OptionInvalid, IdempotencyConflict, and what refuses
    admission, as QueueFull; then nothing was made.
    """
    return trigger_items([Item(task, payload, options)])[0]


def trigger_batch(items: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Up to 1,000 runs, all or none; an item is `{"task": …, "payload": …, "options": {…}}`.

    The options are those of `trigger`. The runs come without their values: those are read when they are asked for.
    Raises BatchInvalid and what `trigger` raises, then with `items[n]` before each path.
    """
    return trigger_items(read_items(items))


def read_items(items: Any) -> list[Item]:
    """The batch's items; raises BatchInvalid naming what is none."""
    if not isinstance(items, (list, tuple)):
        _refuse_batch(f"must be a list of items, not {type(items).__name__}")
    if not 0 < len(items) <= BATCH_LIMIT:
        _refuse_batch(f"must be from 1 to {BATCH_LIMIT:,}, not {len(items):,}")
    return [_read_item(item, f"items[{place}]") for place, item in enumerate(items)]


def trigger_items(items: Sequence[Item], *, door: Door = PYTHON, is_parsed: bool = False) -> list[Run]:
    """The runs of these items, in their order; `is_parsed`: the payloads come from `parse_json`."""
    reading = read_terms({item.task for item in items})
    ids = [uuid7() for _ in items]  # in their order, as a lane is claimed in the order of ids
    orders = [judge(item, run_id, reading, door, is_parsed=is_parsed) for item, run_id in zip(items, ids, strict=True)]
    has_keys = any("idempotency_key" in order.given for order in orders)
    bounds = bounds_of({order.queue for order in orders})
    with _transaction(has_keys=has_keys, is_bounded=bool(bounds)):
        standing = settle_keys(orders) if has_keys else {}
        fresh = [order for order in orders if order.run_id not in standing]
        for bound in bounds if fresh else ():
            bound.admit(Counter(order.queue for order in fresh))
        made = _make(fresh) if fresh else {}
        known = _known(set(standing.values()) - made.keys())
    if len(orders) == 1 and made:
        _attach_value(made[orders[0].run_id], orders[0])
    return [
        made[order.run_id] if order.run_id in made else _duplicate(standing[order.run_id], made, known)
        for order in orders
    ]


def _transaction(*, has_keys: bool, is_bounded: bool) -> AbstractContextManager[Any]:
    """One statement alone needs none. Nor has a caller's transaction a savepoint where nothing is written before the
    last refusal: thousands of them in one transaction slow down every snapshot in the database."""
    return transaction.atomic() if has_keys or (is_bounded and not connection.in_atomic_block) else nullcontext()


def _make(orders: Sequence[Order]) -> dict[UUID, Run]:
    rows = INSERT_RUNS.run_prepared(rows=msgspec.json.encode([order.row for order in orders]).decode())
    stored = {row.id: row for row in rows}
    made = {order.run_id: _run_of(order, stored.get(order.run_id, stored[None])) for order in orders}
    announce_runs(made, is_pending=any(run.state == RunState.PENDING for run in made.values()))
    return made


def _run_of(order: Order, row: Any) -> Run:
    """As if it had been read. By hand, because a thousand models that Django makes cost more than their rows."""
    run = Run.__new__(Run)
    run._state = ModelState()  # noqa: SLF001
    run._state.db, run._state.adding = connection.alias, False  # noqa: SLF001
    run.__dict__ |= {
        **BLANK,
        "id": order.run_id,
        "task_id": order.item.task,
        "state": row.state,
        "queue": order.queue,
        "priority": order.given.get("priority", 0),
        "concurrency_key": order.concurrency_key,
        "tags": order.given.get("tags", []),
        "idempotency_key": order.given.get("idempotency_key", ""),
        "max_attempts": order.max_attempts,
        "created_at": row.created_at,
        "due_at": row.due_at,
        "expires_at": row.expires_at,
    }
    return run


def _attach_value(run: Run, order: Order) -> None:
    """So that who triggers one run may show it without reading it again."""
    given = order.given
    metadata = json.loads(given["metadata"]) if "metadata" in given else None
    traceparent = given.get("traceparent", "")
    run.value = RunValue(run=run, payload=order.payload_text, metadata=metadata, traceparent=traceparent)
    run.value._state.adding = False  # noqa: SLF001 - as after a save


def _known(run_ids: Collection[UUID]) -> dict[UUID, Run]:
    """With its values where there is one alone: a thousand payloads of 3 MB would not fit into memory."""
    if not run_ids:
        return {}
    runs = Run.objects.select_related("value") if len(run_ids) == 1 else Run.objects.all()
    return runs.in_bulk(run_ids)


def _duplicate(run_id: UUID, made: Mapping[UUID, Run], known: Mapping[UUID, Run]) -> Run:
    run = copy(known[run_id] if run_id in known else made[run_id])
    run.is_duplicate = True
    return run


def _read_item(item: Any, place: str) -> Item:
    if not isinstance(item, Mapping):
        _refuse_batch("must be an object with task, payload and options", place)
    if unknown := [name for name in item if name not in ITEM_FIELDS]:
        _refuse_batch("is unknown; an item has task, payload and options", f"{place}.{str(unknown[0])[:60]}")
    task, options = item.get("task"), item.get("options")
    if not isinstance(task, str):
        _refuse_batch("must be the id of a task", f"{place}.task")
    if options is not None and not isinstance(options, Mapping):
        _refuse_batch("must be an object", f"{place}.options")
    return Item(task, item.get("payload"), options or {}, place)


def _refuse_batch(message: str, place: str = "items") -> NoReturn:
    raise BatchInvalid(f"{place} {message}.", (FieldError(place, message),))
