"""Runs named SQL statements, one file each, on the ORM's connection or a coordinator's. Owns no meaning."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection
from psycopg import AsyncConnection
from psycopg.rows import namedtuple_row

SKIP = " SKIP LOCKED"
HELD = (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled)
"""What `lock_timeout` and `statement_timeout` raise: the database is up, and a later try may succeed."""


class Statement:
    """One SQL file with `%(name)s` parameters; every run returns all rows as named tuples."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.text = path.read_text(encoding="utf-8")

    def run(self, **parameters: Any) -> list[Any]:
        """Runs on this thread's Django connection; call it inside `atomic()` if you need a transaction."""
        connection.ensure_connection()
        with connection.connection.cursor(row_factory=namedtuple_row) as cursor:
            return _execute(cursor, self.text, parameters)

    def run_prepared(self, **parameters: Any) -> list[Any]:
        """Like `run`, planned once per connection: for short statements that cost less than their planning.

        Their plans must not depend on how full the tables are. Behind a pooler it is the same as `run`.
        """
        connection.ensure_connection()
        with psycopg.Cursor(connection.connection, row_factory=namedtuple_row) as cursor:
            return _execute(cursor, self.text, parameters, prepare=True)

    def run_waiting(self, **parameters: Any) -> list[Any]:
        """Like `run`, but waits for held rows, as long as the connection's `lock_timeout` allows."""
        connection.ensure_connection()
        with connection.connection.cursor(row_factory=namedtuple_row) as cursor:
            return _execute(cursor, self.waiting_text, parameters)

    async def run_on(self, database: AsyncConnection[Any], *, waits: bool = False, **parameters: Any) -> list[Any]:
        """Runs on a coordinator's connection; `waits` means as in `run_waiting`."""
        async with database.cursor(row_factory=namedtuple_row) as cursor:
            await cursor.execute(self.waiting_text if waits else self.text, parameters)
            return await cursor.fetchall() if cursor.description else []

    @property
    def waiting_text(self) -> str:
        """The same statement, but waiting for held rows instead of skipping them."""
        return self.text.replace(SKIP, "")


def is_held(error: BaseException | None) -> bool:
    """Whether a database error, the driver's or Django's, means that another transaction holds what is needed."""
    return isinstance(error, HELD) or isinstance(getattr(error, "__cause__", None), HELD)


def uuid_array(values: Iterable[UUID]) -> str:
    """Formats a `uuid[]` as one text: on the hot paths the driver's dumping of lists costs most."""
    return "{" + ",".join([value.hex for value in values]) + "}"


def bytes_array(values: Iterable[bytes]) -> str:
    """Formats a `bytea[]` as one text."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"


def _execute(cursor: psycopg.Cursor[Any], text: str, parameters: dict[str, Any], **options: bool) -> list[Any]:
    with connection.wrap_database_errors:
        cursor.execute(text, parameters, **options)
    # Not by `description`, which describes every column again.
    has_rows = cursor.pgresult is not None and cursor.pgresult.nfields > 0
    rows: list[Any] = cursor.fetchall() if has_rows else []
    return rows


def statement(module_file: str, name: str) -> Statement:
    """Loads the statement `sql/<name>.sql` next to the module that names it."""
    return Statement(Path(module_file).parent / "sql" / f"{name}.sql")
