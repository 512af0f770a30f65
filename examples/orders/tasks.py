"""An order's way through a shop: fetch it, charge it, take it from stock. Each checkpoint is a place to continue from.

The order id decides what happens: `A…` is declined once and then paid, `F…` is never paid, `OK…` goes through at once.
"""

import asyncio

from shop import database, mail, payments
from trigger_sdk import Retry, checkpoint, idempotency_key, log, task


@task(id="process-order", max_concurrency=20, retry=Retry(max_attempts=3, initial=2, factor=2, max=10))
def process_order(order_id: str):
    order = database.fetch_order(order_id)
    log.info("fetched the order", order_id=order_id, total=order["total"])
    checkpoint("order-fetched", {"order": order})

    payment = payments.charge(order, idempotency_key=idempotency_key("charge"))
    log.info("charged the card", payment_id=payment["id"], amount=payment["amount"])
    checkpoint("payment-complete", {"payment": payment})

    left = database.decrement_inventory(order["product_id"])
    log.info("took it from the stock", product_id=order["product_id"], left=left)
    return {"order_id": order_id, "payment_id": payment["id"]}


@task(id="send-receipt", retry=Retry(max_attempts=5, initial=1, factor=2, max=30), max_duration=60)
async def send_receipt(order_id: str, email: str = "customer@example.com"):
    order, letterhead = await asyncio.gather(
        asyncio.to_thread(database.fetch_order, order_id), mail.load_letterhead("en")
    )
    text = f"{letterhead}\n\n{order['quantity']} x {order['product_id']}: {order['total']} {order['currency']}"
    await checkpoint("receipt-written", {"text": text})

    message_id = await mail.send(email, text, idempotency_key=idempotency_key("receipt"))
    log.info("sent the receipt", email=email, message_id=message_id)
    return {"order_id": order_id, "message_id": message_id}
