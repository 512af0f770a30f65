"""The bounds of stored times, and how times outside Python's calendar are read.

`trigger_sdk.times` checks the bounds on input; the database checks the same in its constraints.
"""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from django.conf import settings
from django.db.backends.postgresql.psycopg_any import get_adapters_template
from django.db.models import Q
from psycopg.abc import Buffer
from psycopg.adapt import Loader

STORED_FROM = datetime(2000, 1, 1, tzinfo=UTC)
STORED_UNTIL = datetime(2200, 1, 1, tzinfo=UTC)
"""Stored times are in between: the latest accepted time plus the longest delay, a spread and a time to live."""

UNREADABLE_BEFORE = datetime(1, 1, 2, tzinfo=UTC)
UNREADABLE_AFTER = datetime(9999, 12, 30, tzinfo=UTC)
"""Stand for stored times outside Python's calendar; a day from its ends, so that any zone can show them."""


def stored_times(*names: str) -> Q:
    """Builds a check constraint's condition: each of these columns is null, or finite and within the bounds."""
    condition = Q()
    for name in names:
        within = Q(**{f"{name}__gte": STORED_FROM, f"{name}__lt": STORED_UNTIL})
        condition &= within | Q(**{f"{name}__isnull": True})
    return condition


def is_unreadable(moment: datetime) -> bool:
    """Whether the moment stands for a stored time that cannot be read."""
    return not UNREADABLE_BEFORE < moment < UNREADABLE_AFTER


class StoredTimeLoader(Loader):
    """Reads `timestamptz` in UTC; a time outside Python's calendar becomes one of its ends: one bad row must hide no
    other."""

    timezone = UTC
    """Django reads it to see whether the loader fits its connection."""

    def load(self, data: Buffer) -> datetime:
        text = bytes(data).decode("ascii")
        try:
            moment = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            return UNREADABLE_BEFORE if text.endswith("BC") or text.startswith(("-", "0")) else UNREADABLE_AFTER
        return max(UNREADABLE_BEFORE, min(moment, UNREADABLE_AFTER))


def register_loader() -> None:
    """Registers it for Django's connections, and for the coordinator's that are opened from now on."""
    psycopg.adapters.register_loader("timestamptz", StoredTimeLoader)
    # Django registers its own loader over psycopg's, in the map that all its connections start with.
    get_adapters_template(settings.USE_TZ, UTC).register_loader("timestamptz", StoredTimeLoader)
