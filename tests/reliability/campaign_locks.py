"""Locks that a foreign session holds: on rows of the queue and on whole tables. Judges nothing."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg

from apps.storage.ids import public_id
from tests.reliability.campaign_evidence import Fault
from tests.reliability.campaign_site import TARGET_SECONDS, TASK_IDS, CampaignSite

ROW_LOCK_SECONDS = (10.0, 40.0)
TABLE_LOCK_SECONDS = (3.0, 8.0)
LOCK_PATIENCE_MS = 10_000
LOCKED_RUNS = 3

TABLES = ("runs_run", "runs_attempt", "checkpoints_checkpoint")
ROW_LOCKS = {
    "runs": "SELECT id, id FROM runs_run WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
    "attempts": "SELECT run_id, id FROM runs_attempt WHERE run_id = ANY(%s) AND outcome = '' ORDER BY id FOR UPDATE",
    "controls": "SELECT task_id FROM runs_taskcontrol WHERE task_id = %s FOR UPDATE",
    "workers": "SELECT id FROM workers_worker WHERE id = %s FOR UPDATE",
}


def lock_rows(target: str, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """A foreign session holds rows; the runs whose own rows it holds are touched, and no others."""
    seconds = rng.uniform(*ROW_LOCK_SECONDS)
    with _foreign_session(site) as database:
        count = 0
        if target == "controls":
            count = len(database.execute(ROW_LOCKS[target].encode(), (rng.choice(TASK_IDS),)).fetchall())
        elif target == "workers":
            program = rng.choice(site.awake)
            count = len(database.execute(ROW_LOCKS[target].encode(), (program.worker_id,)).fetchall())
        else:
            rows = database.execute(ROW_LOCKS[target].encode(), (_some_running(site, rng),)).fetchall()
            fault.run_ids |= {public_id("run", row[0]) for row in rows}
            count = len(rows)
        fault.is_hit = count > 0
        fault.note = f"{count} rows for {seconds:.0f} s"
        site.watch_for(seconds)


def _some_running(site: CampaignSite, rng: random.Random) -> list[UUID]:
    """As soon as there are any."""
    running: list[UUID] = []

    def is_found() -> bool:
        rows = site.ask("SELECT id FROM runs_run WHERE state = 'running' ORDER BY id")
        running[:] = [UUID(str(row[0])) for row in rows]
        return bool(running)

    site.watch_until(is_found, TARGET_SECONDS)
    return rng.sample(running, min(LOCKED_RUNS, len(running)))


def lock_table(mode: str, table: str, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    seconds = rng.uniform(*TABLE_LOCK_SECONDS)
    with _foreign_session(site) as database:
        database.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        fault.is_hit = True
        fault.note = f"{seconds:.0f} s"
        site.watch_for(seconds)


@contextmanager
def _foreign_session(site: CampaignSite) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A transaction of somebody else; waits for its locks, and may keep them for as long as it likes."""
    with psycopg.connect(site.database_url) as database:
        database.execute("SET idle_in_transaction_session_timeout = 0")
        database.execute("SET statement_timeout = 0")
        database.execute(f"SET lock_timeout = {LOCK_PATIENCE_MS}".encode())
        yield database
        database.rollback()
