"""Bounds password hashing: a hash takes most of a second of CPU time, which everybody else loses.

A process computes at most `SLOT_COUNT` hashes at once, each outside the event loop, in its request's thread. Some more
wait for their turn without a database connection; the rest are refused at once.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection

from apps.access.errors import SignInBusy

SLOT_COUNT = min(2, max(1, (os.cpu_count() or 1) - 1))
WAITERS_LIMIT = 10
WAIT_SECONDS = 8.0
"""Less than a transaction may idle (`idle_in_transaction_session_timeout`): the admin saves users in one."""

_slots = threading.BoundedSemaphore(SLOT_COUNT)
_waiters = threading.BoundedSemaphore(WAITERS_LIMIT)
_held = threading.local()


class BoundedPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's own, bounded: everything that hashes passes through here, the admin included."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        with hashing_slot():
            return super().encode(password, salt, iterations)


@contextmanager
def hashing_slot() -> Iterator[None]:
    """Grants this thread the right to hash; raises SignInBusy. Nested use takes no further slot.

    A connection that this thread holds outside a transaction is first returned to the pool: otherwise waiting threads
    would keep the pages from the database.
    """
    if getattr(_held, "is_held", False):
        yield
        return
    if not connection.in_atomic_block:
        connection.close()
    _wait_for_slot()
    _held.is_held = True
    try:
        yield
    finally:
        _held.is_held = False
        _slots.release()


def _wait_for_slot() -> None:
    if _slots.acquire(blocking=False):
        return
    if not _waiters.acquire(blocking=False):
        raise SignInBusy("Too many people are signing in right now. Try again in a few seconds.")
    try:
        is_ours = _slots.acquire(timeout=WAIT_SECONDS)
    finally:
        _waiters.release()
    if not is_ours:
        raise SignInBusy("Too many people are signing in right now. Try again in a few seconds.")
