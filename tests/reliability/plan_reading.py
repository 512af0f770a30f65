"""Plans as they were carried out: which indexes, how many rows were read, how many rows passed through all nodes.

Statements are prepared with the types that a coordinator's connection sends, under its settings. Judges nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg._queries import PostgresQuery
from psycopg.adapt import Transformer

from apps.storage.statements import Statement

MODES = ("force_generic_plan", "force_custom_plan")
COORDINATOR_SETTINGS = ("enable_seqscan = off",)


@dataclass(frozen=True)
class Executed:
    """One statement, executed and rolled back. Rows that a filter or a join threw away count as read."""

    nodes: list[dict[str, Any]]
    fetched_count: int
    """Rows of runs_run fetched through indexes, as the database's statistics count them."""
    scanned_count: int
    """Rows of runs_run read by scanning the table."""

    @property
    def indexes(self) -> set[str]:
        return {node["Index Name"] for node in self.nodes if "Index Name" in node}

    def read_count(self, table: str) -> int:
        return sum(_passed(node) for node in self.nodes if node.get("Relation Name") == table and _is_scan(node))

    def is_scanned_whole(self, table: str) -> bool:
        return any(node["Node Type"] == "Seq Scan" and node["Relation Name"] == table for node in self.nodes)

    @property
    def work_count(self) -> int:
        """Rows through all nodes together: what a join that compares all with all drives up."""
        return sum(_passed(node) for node in self.nodes)


def execute(
    url: str, wanted: Statement, parameters: Mapping[str, Any], *, mode: str, settings: tuple[str, ...] = ()
) -> Executed:
    """Explains and executes the statement as a prepared one, then takes everything back."""
    with psycopg.connect(url, cursor_factory=psycopg.ClientCursor) as database:
        query = PostgresQuery(Transformer(database))
        query.convert(wanted.text, dict(parameters))
        types = ", ".join(_type_name(database, oid) for oid in query.types)
        names = list(dict.fromkeys(query._order or ()))
        for setting in (*settings, f"plan_cache_mode = {mode}"):
            database.execute(f"SET LOCAL {setting}".encode())
        head = b"PREPARE wanted" + (f" ({types})".encode() if types else b"")
        database.pgconn.exec_(head + b" AS " + query.query)
        marks = f"({', '.join(['%s'] * len(names))})" if names else ""
        values = [parameters[name] for name in names]
        cursor = database.execute(
            f"EXPLAIN (ANALYZE, TIMING OFF, BUFFERS OFF, FORMAT JSON) EXECUTE wanted {marks}".encode(),
            values or None,
        )
        ((plans,),) = cursor.fetchall()
        cursor = database.execute(
            "SELECT pg_stat_get_xact_tuples_fetched(c), pg_stat_get_xact_tuples_returned(c) "
            "FROM (SELECT 'runs_run'::regclass::oid) AS t (c)"
        )
        ((fetched, scanned),) = cursor.fetchall()
        database.execute("DEALLOCATE wanted")
        database.rollback()
    return Executed(list(_nodes(plans[0]["Plan"])), fetched, scanned)


def _type_name(database: psycopg.Connection[Any], oid: int) -> str:
    if oid == 0:
        return "unknown"
    ((name,),) = database.execute("SELECT %s::oid::regtype::text", (oid,)).fetchall()
    return str(name)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _is_scan(node: dict[str, Any]) -> bool:
    return str(node["Node Type"]).endswith("Scan")


def _passed(node: dict[str, Any]) -> int:
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    rows = sum(float(node.get(name, 0)) for name in names)
    return round(rows * int(node.get("Actual Loops", 1)))
