"""The coordinator's connections: a small pool on its event loop, and what counts as "the database is away"."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from trigger_site.edge.database_watch import watched

POOL_MAX_SIZE = 4
POOL_TIMEOUT_SECONDS = 3.0
RECONNECT_TIMEOUT_SECONDS = 2.0
"""The pool doubles the pause between its attempts until then, and begins anew at the next request: with its default of
five minutes it would stay without a connection for a minute after an outage of one."""
RETRIES = 3
STATEMENT_TIMEOUT = "5s"

TOO_MUCH = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.StatementTooComplex,
    psycopg.errors.ProgramLimitExceeded,
)
"""Operational errors of one statement: the database is there, and asking again would end the same way."""

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
"""A server that takes no writes is one in the middle of a failover."""

logger = logging.getLogger(__name__)

T = TypeVar("T")
Connection = AsyncConnection[Any]


class DatabaseAwayError(Exception):
    """No connection could be had, or it broke; the worker keeps its work and asks again."""


class Database:
    """Runs units of work on pooled autocommit connections; each unit opens its own transaction."""

    def __init__(self, url: str) -> None:
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=POOL_MAX_SIZE,
            timeout=POOL_TIMEOUT_SECONDS,
            reconnect_timeout=RECONNECT_TIMEOUT_SECONDS,
            open=False,
            configure=_configure,
            kwargs={"autocommit": True, "connect_timeout": 3},
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """The unit's result; retries deadlocks and serialisation failures; raises DatabaseAwayError."""
        for attempt in range(1, RETRIES + 1):
            try:
                async with self._pool.connection() as connection:
                    return await work(connection)
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                if attempt == RETRIES:
                    raise
                await asyncio.sleep(0.01 * attempt)
            except TOO_MUCH:
                raise
            except (*AWAY, PoolTimeout) as error:
                raise DatabaseAwayError(str(error)) from error
        raise AssertionError("the loop returns or raises")


async def _configure(connection: Connection) -> None:
    watched(connection)
    await connection.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
    await connection.execute("SET idle_in_transaction_session_timeout = '10s'")
    # A plan that was cached while the tables were empty would go on reading them whole when they are full; every
    # statement of a coordinator has an index to go by.
    await connection.execute("SET enable_seqscan = off")
    # Planning costs as much as carrying out a small batch; tests hold the generic plans to what they have to read.
    await connection.execute("SET plan_cache_mode = force_generic_plan")
