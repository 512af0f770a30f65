"""The shop's services as a task sees them: a database, a payment provider and a mail service, each with its own delay.

The provider's declines follow from the order's id and the run's attempt, so the example fails in the same way in
a container, where nothing of an earlier attempt is left. What does last is written below SHOP_FOLDER, if that is set:
with it you can see which service was called how often, whatever became of the runs.
"""

import asyncio
import hashlib
import json
import os
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from trigger_sdk import current_run, log

LEDGER_NAME = "calls.jsonl"


class PaymentDeclined(Exception):
    """The provider did not accept the payment."""


class Database:
    """Orders by id; every id exists, and its contents follow from it."""

    def fetch_order(self, order_id: str) -> dict[str, Any]:
        log.info("reading the order from the database", order_id=order_id)
        time.sleep(0.5)
        number = _number(order_id)
        quantity = 1 + number % 3
        order = {
            "id": order_id,
            "product_id": f"product-{number % 7 + 1}",
            "quantity": quantity,
            "total": Decimal("19.90") * quantity,
            "currency": "EUR",
        }
        _record("fetch_order", order_id)
        return order

    def decrement_inventory(self, product_id: str) -> int:
        time.sleep(0.3)
        _record("decrement_inventory", product_id)
        return 40 + _number(product_id) % 50


class Payments:
    """A provider with an unreliable connection."""

    def charge(self, order: dict[str, Any], *, idempotency_key: str) -> dict[str, Any]:
        log.info("asking the payment provider", order_id=order["id"], amount=order["total"])
        time.sleep(0.8)
        _record("charge", order["id"])
        run = current_run()
        attempt = run.attempt_number if run is not None else 1
        if order["id"].startswith("F"):
            raise PaymentDeclined(f"card declined for order {order['id']}")
        if order["id"].startswith("A") and attempt == 1:
            raise PaymentDeclined(f"the provider timed out on order {order['id']}; nothing was charged")
        return {"id": f"pay_{idempotency_key[:12]}", "amount": order["total"], "charged_at": datetime.now(UTC)}


class Mail:
    async def load_letterhead(self, language: str) -> str:
        await asyncio.sleep(0.3)
        return {"en": "Thank you for your order."}[language]

    async def send(self, address: str, text: str, *, idempotency_key: str) -> str:
        log.info("handing the message to the mail service", address=address, characters=len(text))
        await asyncio.sleep(0.4)
        _record("send", address)
        return f"msg_{idempotency_key[:12]}"


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])


def _record(call: str, subject: str) -> None:
    """Adds one line to the ledger; a single small append stays whole even if two runs write at once."""
    folder = os.environ.get("SHOP_FOLDER")
    if folder is None:
        return
    run = current_run()
    line = json.dumps({"call": call, "subject": subject, "run": run.id if run is not None else None})
    with (Path(folder) / LEDGER_NAME).open("a") as file:
        file.write(line + "\n")


database = Database()
payments = Payments()
mail = Mail()
