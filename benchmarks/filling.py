"""Fills an engine's tables in bulk: one run is triggered (and finished) normally, the rest are copies of its rows.

Copies are made inside the database and without its foreign key triggers: a million rows take half a minute instead of
several minutes. The code does not know what columns mean, so a new column needs no change.
"""

import json
import time
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg import sql

from benchmarks.engine_site import Engine

RUN_TABLES = {"runs_run": "id", "runs_value": "run_id"}
FINISHED_TABLES = RUN_TABLES | {"runs_attempt": "run_id"}

COPIED_ID = """
(lpad(to_hex({first_ms}::bigint + n / 1000), 12, '0') || '7' || lpad(to_hex(n %% 1000), 3, '0') || '8'
 || substr(md5(n::text), 1, 15))::uuid
"""
"""As UUIDv7, a thousand per millisecond: in order of n, and those of a later call after those of an earlier one."""


def trigger_one(engine: Engine, task: str, **arguments: object) -> UUID:
    """Commits a run of the task by the ORM's verb; returns its id."""
    answer = engine.run_module("trigger_many", task, "1", json.dumps(arguments))
    return UUID(answer["last_id"])


def one_id(database: psycopg.Connection, query: LiteralString) -> UUID:
    """Returns the id that the query finds; raises if it finds none."""
    row = database.execute(query).fetchone()
    if row is None:
        raise RuntimeError(f"nothing was found by {query}")
    found: UUID = row[0]
    return found


def copy_runs(database: psycopg.Connection, template: UUID, count: int, *, is_finished: bool = False) -> None:
    """Makes that many copies of a run, as if triggered just now; with its attempts if it is finished."""
    first_ms = time.time_ns() // 1_000_000 - count // 1000
    copied_id = sql.SQL(COPIED_ID).format(first_ms=first_ms)
    with database.transaction():
        database.execute("SET LOCAL session_replication_role = replica")
        database.execute("SET LOCAL statement_timeout = 0")
        for table, key in (FINISHED_TABLES if is_finished else RUN_TABLES).items():
            _copy(database, table, key, copied_id, template, count)


def clear_runs(database: psycopg.Connection) -> None:
    """Restores a new installation's state: empty tables, with the statistics of empty ones."""
    database.execute("TRUNCATE runs_run, runs_value, runs_attempt CASCADE")
    settle(database)


def settle(database: psycopg.Connection) -> None:
    """Does what autovacuum and a checkpoint would have done in time."""
    database.execute("SET statement_timeout = 0")
    database.execute("VACUUM (ANALYZE) runs_run, runs_value, runs_attempt")
    database.execute("CHECKPOINT")


def _copy(
    database: psycopg.Connection, table: str, key: str, copied_id: sql.Composed, template: UUID, count: int
) -> None:
    columns = _columns(database, table)
    values = [copied_id if name == key else sql.SQL("t.{}").format(sql.Identifier(name)) for name in columns]
    statement = sql.SQL(
        "INSERT INTO {table} ({columns})"
        " SELECT {values} FROM {table} t, generate_series(1, {count}) n WHERE t.{key} = %s"
    ).format(
        table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values), count=count, key=sql.Identifier(key),
    )  # fmt: skip
    database.execute(statement, (template,))


def _columns(database: psycopg.Connection, table: str) -> list[str]:
    """Lists the columns, except those that the database fills itself."""
    rows = database.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attidentity = '' AND attgenerated = '' ORDER BY attnum",
        (table,),
    ).fetchall()
    return [row[0] for row in rows]
