"""The names that the documentation's examples use: a database, a shop, a payment service that refuses to charge twice.

Each call to them is an effect in the ledger `calls`. The n-th can be made to fail, to lose its reply, or to kill the
process after it happened.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from trigger_sdk import AbortRun, Retry, RetryAfter, checkpoint, current_run, idempotency_key, log, step, task

from tests.unit.sdk.in_process import run

__all__ = [
    "UTC",
    "UUID",
    "AbortRun",
    "Decimal",
    "Enum",
    "NamedTuple",
    "Path",
    "PurePosixPath",
    "PureWindowsPath",
    "Retry",
    "RetryAfter",
    "ZoneInfo",
    "ask_model",
    "asyncio",
    "checkpoint",
    "connect",
    "current_run",
    "dataclass",
    "date",
    "datetime",
    "db",
    "deque",
    "fetch_page",
    "fetch_page_async",
    "idempotency_key",
    "ledger",
    "legacy",
    "log",
    "mail",
    "run",
    "step",
    "stripe",
    "task",
    "time",
    "timedelta",
    "uuid4",
]

Call = tuple[str, str]


class Killed(BaseException):
    """The process dies here: neither a retry nor a handler of the task sees it."""


class DoubleCharge(Exception):
    """An order was charged under a second key."""


@dataclass
class World:
    """What the services have done since `reset`; `saved_at` has the number of calls at each save."""

    calls: list[Call] = field(default_factory=list)
    count: int = 0
    saved_at: list[int] = field(default_factory=list)
    failing: int = 0
    reply_lost: int = 0
    killed: int = 0
    is_met: bool = False
    intents: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    charges: dict[str, str] = field(default_factory=dict)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def reset(self, **failure: int) -> None:
        """Forgets everything; `failure` is the number of the call that fails, in one of the three ways."""
        self.__init__(**failure)  # type: ignore[misc]

    @contextlib.contextmanager
    def effect(self, name: str, subject: object) -> Iterator[None]:
        self.count += 1
        number = self.count
        self.is_met = self.is_met or number in (self.failing, self.reply_lost, self.killed)
        if number == self.failing:
            raise ConnectionError(f"{name} {subject}: no route to the service")
        self.calls.append((name, str(subject)))
        yield
        if number == self.killed:
            raise Killed(f"{name} {subject}")
        if number == self.reply_lost:
            raise ConnectionError(f"{name} {subject}: the reply was lost")


world = World()


class Database:
    def fetch_order(self, order_id: str) -> dict[str, Any]:
        with world.effect("fetch_order", order_id):
            return {"id": order_id, "product_id": "coffee", "customer": "cus_7", "total": 1990, "items": ["a", "b"]}

    def decrement_inventory(self, product_id: str) -> int:
        with world.effect("decrement_inventory", product_id):
            return 41

    def insert_once(self, key: str, **columns: Any) -> str:
        """`INSERT … ON CONFLICT (key) DO NOTHING`, then the row's id."""
        with world.effect("insert_once", key):
            world.rows.setdefault(key, columns)
            return f"row-{list(world.rows).index(key) + 1}"

    @contextlib.contextmanager
    def atomic(self) -> Iterator[None]:
        yield


class PaymentIntents:
    def create(
        self, *, amount: int, currency: str, idempotency_key: str, metadata: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Like Stripe: a known key gets the first answer again, or is refused if the parameters differ."""
        given: dict[str, Any] = {"amount": amount, "currency": currency, "metadata": dict(metadata or {})}
        with world.effect("charge", amount):
            if idempotency_key in world.intents:
                first, intent = world.intents[idempotency_key]
                if first != given:
                    raise ValueError("Keys for idempotent requests can only be used with the same parameters")
            else:
                subject = given["metadata"].get("item") or given["metadata"].get("order") or "the order"
                if subject in world.charges:
                    raise DoubleCharge(f"{subject} was already charged, as {world.charges[subject]}")
                intent = {"id": f"pi_{len(world.intents) + 1}", "amount": amount}
                world.intents[idempotency_key] = given, intent
                world.charges[subject] = intent["id"]
        return dict(intent)


class Stripe:
    PaymentIntent = PaymentIntents()

    def charge(self, order: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
        return self.PaymentIntent.create(amount=order["total"], currency="eur", idempotency_key=idempotency_key)


class Legacy:
    """A payment service without idempotency keys, which can look up payments by the caller's reference."""

    def find(self, *, reference: str) -> dict[str, Any] | None:
        intent = world.intents.get(reference)
        return dict(intent[1]) if intent else None

    def charge(self, *, reference: str, amount: int) -> dict[str, Any]:
        with world.effect("legacy-charge", reference):
            if reference in world.intents:
                raise DoubleCharge(reference)
            world.intents[reference] = {}, {"id": f"legacy-{reference[:8]}", "amount": amount}
        return dict(world.intents[reference][1])


class Mail:
    def send(self, text: str, *, idempotency_key: str | None = None) -> str:
        with world.effect("mail", text):
            return f"msg_{len(text)}"


class Connection:
    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, order_id: str) -> dict[str, Any]:
        return db.fetch_order(order_id)

    def write(self, order: Mapping[str, Any]) -> None:
        with world.effect("write", order["id"]):
            return


def connect() -> Connection:
    return Connection()


def fetch_page(number: int) -> list[str]:
    with world.effect("fetch_page", number):
        return [f"row {number}a", f"row {number}b"]


async def fetch_page_async(number: int) -> list[str]:
    await asyncio.sleep(0)
    return fetch_page(number)


def ask_model(question: str) -> str:
    with world.effect("ask_model", question):
        return f"about {question}"


def ledger(name: str) -> list[str]:
    """What a service was asked to do, in order."""
    return [subject for called, subject in world.calls if called == name]


db, stripe, mail, legacy = Database(), Stripe(), Mail(), Legacy()
