"""Many callers at once: threads that begin together, each with a database connection of its own."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from django.db import connection, connections

DEADLINE_SECONDS = 540.0

T = TypeVar("T")


@contextmanager
def own_connection(**options: str) -> Iterator[None]:
    """In this thread: a connection that comes from no pool, so that no caller waits for another's."""
    own = type(connection._connections[connection._alias])({**connection.settings_dict, "OPTIONS": options}, "default")
    connections["default"] = own
    try:
        yield
    finally:
        own.close()


def at_once(caller_count: int, call: Callable[[int], T]) -> list[T]:
    """What each caller returns; `call` gets its number from 0. All begin when the last one is ready."""
    ready = threading.Barrier(caller_count)

    def work(number: int) -> T:
        with own_connection():
            connection.ensure_connection()
            ready.wait(60)
            return call(number)

    with ThreadPoolExecutor(caller_count) as pool:
        futures = [pool.submit(work, number) for number in range(caller_count)]
        return [future.result(DEADLINE_SECONDS) for future in futures]
