"""Sets how long this process's statements may take and wait if the settings' bounds do not fit.

Set for whole sessions, so never behind a pooler.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection

MIGRATION_TIMEOUTS = {"statement_timeout": 0, "lock_timeout": 30_000, "idle_in_transaction_session_timeout": 0}
"""Milliseconds. A migration may rewrite a table; while it waits for a lock, everybody else queues behind it."""


def lengthen_for_migrations(**kwargs: Any) -> None:
    """Receives `pre_migrate`."""
    _apply(MIGRATION_TIMEOUTS)


def restore_after_migrations(**kwargs: Any) -> None:
    """Receives `post_migrate`."""
    _apply(settings.DATABASE_TIMEOUTS)


@contextmanager
def statement_timeout(seconds: float) -> Iterator[None]:
    """Lets statements on this thread's connection take that long inside the block."""
    default = settings.DATABASE_TIMEOUTS["statement_timeout"]
    wanted = round(seconds * 1000)
    if wanted == default:
        yield
        return
    _apply({"statement_timeout": wanted})
    lent = connection.connection
    try:
        yield
    finally:
        try:
            _apply({"statement_timeout": default})
        except DatabaseError:
            lent.close()  # so that the pool throws it away


def _apply(timeouts: dict[str, int]) -> None:
    if settings.IS_DATABASE_POOLED:
        return
    with connection.cursor() as cursor:
        for name, value in timeouts.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, str(value)])
