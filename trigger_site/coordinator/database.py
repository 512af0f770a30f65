"""The coordinator's connections: small pools on its event loop, and the rules for "the database is away"."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from apps.storage.statements import HELD
from trigger_site.edge.database_watch import watched

SHARED_CONNECTIONS = 2
"""For the dispatcher, and for reads and registrations, in addition to one for each writer: none of them waits for
another's row."""

PATIENT_POOL_MAX_SIZE = 2
PATIENCE_SECONDS = 0.25
"""How long one item waits for a held row, and so the longest delay of items sent along with it: far longer than our own
transactions take. Its sender asks again."""

POOL_TIMEOUT_SECONDS = 3.0
RECONNECT_TIMEOUT_SECONDS = 2.0
"""The pool doubles the pause between its attempts up to this, and starts over at the next request: with its default of
five minutes it would stay without a connection for a minute after a one-minute outage."""
RETRIES = 3
STATEMENT_TIMEOUT_SECONDS = 5.0
LOCK_TIMEOUT_SECONDS = 0.5
"""For whole tables and the claim's lane: held rows are skipped, not waited for."""

TOO_MUCH = (psycopg.errors.StatementTooComplex, psycopg.errors.ProgramLimitExceeded)
"""Operational errors of one statement: the database is up, and a retry would end the same way."""

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
"""A server that accepts no writes is in the middle of a failover."""

logger = logging.getLogger(__name__)

T = TypeVar("T")
Connection = AsyncConnection[Any]


class DatabaseAwayError(Exception):
    """No connection was available, or it broke; the worker keeps its work and asks again."""


class HeldError(Exception):
    """Another transaction holds a row or table that the unit needs; nothing was written, and a retry may
    help."""


class Database:
    """Runs units of work on pooled autocommit connections; each unit opens its own transaction."""

    def __init__(self, url: str, *, writer_count: int, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.patience_seconds = patience_seconds
        self._pool = _pool(url, writer_count + SHARED_CONNECTIONS, LOCK_TIMEOUT_SECONDS, min_size=1)
        self._patient_pool = _pool(url, PATIENT_POOL_MAX_SIZE, patience_seconds, min_size=0)
        self._patient_count = 0

    async def open(self) -> None:
        await self._pool.open()
        await self._patient_pool.open()

    async def close(self) -> None:
        await self._patient_pool.close()
        await self._pool.close()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Returns the unit's result; retries deadlocks, serialisation failures; raises HeldError, DatabaseAwayError."""
        return await _run(self._pool, work)

    async def run_patiently(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Like `run`, for a unit that waits for a row; HeldError at once if too many are already waiting."""
        if self._patient_count >= PATIENT_POOL_MAX_SIZE:
            raise HeldError("Too many units are already waiting for held rows.")
        self._patient_count += 1
        try:
            return await _run(self._patient_pool, work)
        finally:
            self._patient_count -= 1


def _pool(url: str, max_size: int, lock_seconds: float, *, min_size: int) -> AsyncConnectionPool[Connection]:
    async def configure(connection: Connection) -> None:
        await _configure(connection, lock_seconds)

    return AsyncConnectionPool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=POOL_TIMEOUT_SECONDS,
        reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
        open=False,
        configure=configure,
        kwargs={
            "autocommit": True,
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        },
    )


async def _run(pool: AsyncConnectionPool[Connection], work: Callable[[Connection], Awaitable[T]]) -> T:
    for attempt in range(1, RETRIES + 1):
        try:
            async with pool.connection() as connection:
                return await work(connection)
        except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
            if attempt == RETRIES:
                raise
            await asyncio.sleep(0.01 * attempt)
        except HELD as error:
            raise HeldError(str(error).partition("\n")[0]) from error
        except TOO_MUCH:
            raise
        except (*AWAY, PoolTimeout) as error:
            raise DatabaseAwayError(str(error)) from error
    raise AssertionError("the loop returns or raises")


async def _configure(connection: Connection, lock_seconds: float) -> None:
    watched(connection)
    for name, seconds in (
        ("statement_timeout", STATEMENT_TIMEOUT_SECONDS),
        ("lock_timeout", lock_seconds),
        ("idle_in_transaction_session_timeout", 10.0),
    ):
        await connection.execute(f"SET {name} = {round(seconds * 1000)}")
    # A plan cached while the tables were empty would keep reading them whole when they are full; every statement of a
    # coordinator has an index to use.
    await connection.execute("SET enable_seqscan = off")
    # Planning costs as much as executing a small batch; tests hold the generic plans to what they must read.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
