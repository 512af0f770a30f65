"""An order is reserved, charged and shipped; what was done is undone if a later part fails."""

import uuid

import world
from trigger_sdk import AbortRun, checkpoint, idempotency_key, task


@task(id="place-order")
def place_order(order_id: str, express: bool = False):
    reference = uuid.uuid4()
    reservation = world.post("/reservations", {"order": order_id, "reference": str(reference)})
    checkpoint("reserved", {"reservation": reservation, "reference": reference})

    try:
        charge = world.post("/charges", {"order": order_id, "key": idempotency_key("charge")})
        checkpoint("charged", {"charge": charge})
        shipment = world.post("/shipments", {"order": order_id, "express": express})
    except world.Refused as error:
        world.post("/cancellations", {"reservation": reservation["id"]})
        raise AbortRun(f"order {order_id}: {error}") from error

    world.post("/receipts", {"reference": str(reference)})
    return {"charge": charge["id"], "shipment": shipment["id"]}
