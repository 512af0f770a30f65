"""What the HTTP API answers with: JSON in which stored values go out as their own text, byte for byte.

Parsing and writing them again would change what a client reads: 1e16, -0.0, 10.10, the order of keys.
"""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.http import HttpResponse

NULL = msgspec.Raw(b"null")


def json_response(value: Any, *, status: int = 200) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(value), status=status, content_type="application/json")


def raw_value(text: str | None) -> msgspec.Raw:
    """Stored JSON text, to be embedded as it is."""
    return NULL if text is None else msgspec.Raw(text.encode())


def json_field(value: Any) -> msgspec.Raw:
    """A `jsonb` column's value. The standard library, because it alone writes integers of any size."""
    return msgspec.Raw(json.dumps(value, ensure_ascii=False).encode())


def timestamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds, so that texts sort like times."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
