"""Three mails to a new customer, with a look at what they did in between."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import world
from trigger_sdk import checkpoint, idempotency_key, task


@task(id="drip")
def drip(customer: str, joined: datetime, zone: str = "Europe/Berlin"):
    first_at = joined.astimezone(ZoneInfo(zone)) + timedelta(days=1)
    world.post("/mails", {"to": customer, "mail": "welcome", "key": idempotency_key("welcome")})
    checkpoint("welcomed", {"first_at": first_at})

    profile = world.get(f"/customers/{customer}")
    if profile["orders"] == 0:
        world.post("/mails", {"to": customer, "mail": "offer", "at": first_at.isoformat()})
        checkpoint("offered", {"profile": profile})
    else:
        checkpoint("thanked", {"profile": profile})

    wait = first_at - joined
    world.post("/mails", {"to": customer, "mail": f"hello, {profile['name']}"})
    return {"hours": wait // timedelta(hours=1), "at": first_at.astimezone(UTC)}
