"""The request bodies that trigger runs, made from options by their Python names.

Only names and time zones are checked here; the server checks the limits and says what is wrong.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from trigger_sdk.trigger_options import TRIGGER_OPTIONS

BATCH_LIMIT = 1000

_ITEM_FIELDS = ("task", "payload", "options")


def trigger_body(payload: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """TypeError for an unknown option, ValueError for a `run_at` without a zone."""
    sent = {_sent_name(name): _sent_value(name, value) for name, value in options.items() if value is not None}
    return {"payload": {} if payload is None else payload, "options": sent}


def positional_payload(arguments: Sequence[Any], named: dict[str, Any]) -> Any:
    """The payload of a trigger by id, which is given by position or as `payload=`; taken out of `named`."""
    if len(arguments) > 1 or (arguments and "payload" in named):
        raise TypeError('a task that is named by its id takes one payload, an object: {"order_id": "A1"}')
    return arguments[0] if arguments else named.pop("payload", None)


def batch_body(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Like `trigger_body`, for items `{"task": …, "payload": …, "options": {…}}`; the errors name `items[n]`."""
    return {"items": [_item_body(place, item) for place, item in enumerate(items)]}


def is_repeatable(body: Mapping[str, Any]) -> bool:
    """Whether the request may be sent again if its reply was lost: every run in it has an idempotency key."""
    return all("idempotency_key" in item["options"] for item in body.get("items", [body]))


def _item_body(place: int, item: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := [name for name in item if name not in _ITEM_FIELDS]:
        raise TypeError(f"items[{place}].{unknown[0]} is unknown; an item has task, payload and options")
    if not isinstance(item.get("task"), str):
        raise TypeError(f"items[{place}].task must be the id of a task")
    try:
        body = trigger_body(item.get("payload"), item.get("options") or {})
    except (TypeError, ValueError) as error:
        raise type(error)(f"items[{place}]: {error}") from None
    return {"task": item["task"], **body}


def _sent_name(name: str) -> str:
    known = TRIGGER_OPTIONS.get(name)
    if known is None:
        near = difflib.get_close_matches(name.removesuffix("_seconds"), TRIGGER_OPTIONS, n=1)
        raise TypeError(f"{name!r} is not a trigger option{f'; did you mean {near[0]!r}?' if near else ''}")
    return known.wire_name


def _sent_value(name: str, value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError(f"{name} has no time zone: {value.isoformat()}")
        return value.astimezone(UTC).isoformat()  # an offset may have seconds, which RFC 3339 does not allow
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return dict(value) if isinstance(value, Mapping) else value
