"""Idempotency keys of triggers: one key of a task stands for one run until it expires, whatever becomes of the run.

Keys that tasks pass to other services (`idempotency_key("charge")`) are something else; see `checkpoints.replay`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from django.db import connection, transaction
from trigger_sdk.trigger_options import IDEMPOTENCY_KEY_TTL_SECONDS

from apps.http.errors import FieldError
from apps.runs.errors import IdempotencyConflict, IdempotencyKeyNotFound
from apps.runs.models import BUMPED_PRIORITY, IdempotencyKey, Run
from apps.runs.states import state_words
from apps.runs.trigger.orders import Order
from apps.runs.trigger.payloads import load_stored
from apps.storage.ids import public_id
from apps.storage.statements import statement

DIFFERENCES_SHOWN = 10
KEY_SHOWN_LENGTH = 200
LASTING_OPTIONS = ("queue", "priority", "concurrency_key", "tags", "max_attempts")
"""Options that a run keeps as they were given."""

NOT_HASHED = ("idempotency_key", "traceparent")
SAME_AS_NOT_GIVEN: Sequence[Any] = (0, [])

TAKE_KEYS = statement(__file__, "take_keys")
KNOWN_KEYS = statement(__file__, "known_keys")
DROP_EXPIRED_KEYS = statement(__file__, "drop_expired_keys")

Name = tuple[str, str]
"""Task and key."""


def settle_keys(orders: Sequence[Order]) -> dict[UUID, UUID]:
    """Takes the orders' keys; maps the run id of each order that repeats a key to the run that the key stands for.

    Called inside the transaction that makes the runs, so that a key and its run exist together or not at all. Orders
    are judged one after another, so a later one already sees the keys of earlier ones. Raises IdempotencyConflict if a
    key stands for another payload or other options.
    """
    first: dict[Name, Order] = {}
    for order in orders:
        if name := _name_of(order):
            first.setdefault(name, order)
    hashes = {order.run_id: body_hash(order) for order in orders if _name_of(order)}
    known = _take(first, hashes)
    standing: dict[UUID, UUID] = {}
    for order in orders:
        if (name := _name_of(order)) is None:
            continue
        earlier = first[name]
        run_id, stored_hash = known.get(name, (earlier.run_id, hashes[earlier.run_id]))
        if stored_hash != hashes[order.run_id]:
            _refuse(order, run_id, earlier if name not in known else None)
        if run_id != order.run_id:
            standing[order.run_id] = run_id
    return standing


def reset_key(*, task_id: str, key: str) -> Run:
    """Frees the key: the next trigger with it makes a new run. Returns the run that it stood for, which goes on.

    Raises IdempotencyKeyNotFound if it stands for no run, because it was never used, has expired, or its run is gone.
    """
    with transaction.atomic():
        is_storable = "\x00" not in task_id + key
        rows = IdempotencyKey.objects.select_for_update().filter(task_id=task_id, key=key) if is_storable else ()
        row = next(iter(rows), None)
        run = None if row is None or row.expires_at <= _now() else Run.objects.filter(id=row.run_id).first()
        if row is None or run is None:
            raise IdempotencyKeyNotFound(
                f"The idempotency key {key[:KEY_SHOWN_LENGTH]!r} of {task_id!r} stands for no run."
            )
        row.delete()
    return run


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT trigger_now()")
        return cursor.fetchone()[0]  # type: ignore[no-any-return]


def drop_expired_keys(*, limit: int = 1000) -> int:
    """Removes keys that have expired; returns how many."""
    return len(DROP_EXPIRED_KEYS.run(limit=limit))


def body_hash(order: Order) -> bytes:
    """SHA-256 over what makes two triggers the same: the payload and the options, without tracing."""
    options = {
        name: _hashed(name, value)
        for name, value in order.given.items()
        if name not in NOT_HASHED and value not in SAME_AS_NOT_GIVEN
    }
    return hashlib.sha256(_canonical({"payload": order.payload, "options": options}).encode()).digest()


def _hashed(name: str, value: Any) -> Any:
    """The value in its JSON form."""
    if isinstance(value, datetime):
        return value.isoformat()
    return json.loads(value) if name == "metadata" else value


def _take(first: Mapping[Name, Order], hashes: Mapping[UUID, bytes]) -> dict[Name, tuple[UUID, bytes]]:
    """What the keys that were not free stand for: run and hash."""
    taken = _take_rows(list(first.values()), hashes)
    left = [name for name in first if name not in taken]
    if not left:
        return {}
    # A separate statement: only its snapshot is newer than the transactions that were waited for.
    rows = KNOWN_KEYS.run(task_ids=[task_id for task_id, _ in left], keys=[key for _, key in left])
    found = {(row.task_id, row.key): (row.run_id, bytes(row.body_hash)) for row in rows}
    alive = set(Run.objects.filter(id__in=[run_id for run_id, _ in found.values()]).values_list("id", flat=True))
    if gone := [name for name, (run_id, _) in found.items() if run_id not in alive]:
        _take_rows([first[name] for name in gone], hashes, is_forced=True)
    return {name: stood for name, stood in found.items() if stood[0] in alive}


def _take_rows(orders: Sequence[Order], hashes: Mapping[UUID, bytes], *, is_forced: bool = False) -> set[Name]:
    rows = [
        {
            "task_id": order.item.task,
            "key": order.given["idempotency_key"],
            "run_id": order.run_id,
            "body_hash": hashes[order.run_id].hex(),
            "ttl_seconds": order.given.get("idempotency_key_ttl_seconds", IDEMPOTENCY_KEY_TTL_SECONDS),
        }
        for order in orders
    ]
    taken = TAKE_KEYS.run_prepared(rows=msgspec.json.encode(rows).decode(), is_forced=is_forced)
    return {(row.task_id, row.key) for row in taken}


def _name_of(order: Order) -> Name | None:
    key = order.given.get("idempotency_key")
    return None if key is None else (order.item.task, key)


def _refuse(order: Order, run_id: UUID, earlier: Order | None) -> NoReturn:
    if earlier is not None:
        holder, shown, found = earlier.item.place, "", _differing_payload(earlier.payload, order.payload)
    else:
        shown = public_id("run", run_id)
        run = Run.objects.select_related("value").get(id=run_id)
        holder = f"{shown} ({state_words(run.state)})"
        found = [*_differing_payload(load_stored(run.value.payload), order.payload), *_differing_options(run, order)]
    if not found:
        found = [FieldError("options", "differ (delay, time to live, or one that was left out) from")]
    named = ", ".join(error.path for error in found[:DIFFERENCES_SHOWN])
    key = order.given["idempotency_key"]
    refusal = IdempotencyConflict(
        f"The idempotency key {key!r} stands for {holder}, which differs in {named}.",
        tuple(FieldError(error.path, f"{error.message} {holder}") for error in found[:DIFFERENCES_SHOWN]),
        shown,
    )
    raise refusal.within(order.item.place) if order.item.place else refusal


def _differing_payload(stored: Any, wanted: Any) -> list[FieldError]:
    if not isinstance(stored, dict) or not isinstance(wanted, dict):
        return [] if _canonical(stored) == _canonical(wanted) else [FieldError("payload", "differs from")]
    names = [*stored, *(name for name in wanted if name not in stored)]
    missing = object()
    pairs = ((name, stored.get(name, missing), wanted.get(name, missing)) for name in names)
    return [
        FieldError(f"payload.{name[:KEY_SHOWN_LENGTH]}", "differs from")
        for name, old, new in pairs
        if old is missing or new is missing or _canonical(old) != _canonical(new)
    ]


def _differing_options(run: Run, order: Order) -> list[FieldError]:
    found = []
    for name in LASTING_OPTIONS:
        wanted = order.given.get(name)
        stored = getattr(run, name)
        is_bumped = name == "priority" and stored == BUMPED_PRIORITY
        if wanted is not None and wanted != stored and not is_bumped:
            found.append(FieldError(f"options.{name}", "differs from"))
    metadata = json.loads(order.given["metadata"]) if "metadata" in order.given else None
    if metadata != run.value.metadata:
        found.append(FieldError("options.metadata", "differs from"))
    return found


def _canonical(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
