"""The checks of `manage.py doctor`: one function per subject; each says what it found and how to fix it.

It only reads, and claims nothing that it did not ask just now; the result of a worker's probe of its container engine
is shown as the worker recorded it.
"""

import http.client
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.db.utils import Error as DatabaseError

from apps.runs.models import Run
from apps.runs.states import RunState
from apps.workers.models import Worker
from trigger_site.edge.limits import is_every_network

OLDEST_POSTGRES = 150000  # as server_version_num
# Far more than a round trip; leases use the database's clock, log lines the node's.
ALLOWED_SKEW_SECONDS = 2.0
# Two missed heartbeats.
ALIVE_FOR = timedelta(seconds=60)
LOW_SPACE_BYTES = 1024**3
NO_SPACE_BYTES = 100 * 1024**2


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    subject: str
    text: str
    mend: str = ""


def examine() -> Iterator[Finding]:
    """Yields the findings in a fixed order; without a database, only those that need none."""
    database = examine_database()
    yield database
    yield examine_coordinator()
    yield examine_space()
    if database.level is not Level.FAIL:
        checks: tuple[Callable[[], Finding], ...] = (examine_timeouts, examine_migrations, examine_clock)
        yield from (check() for check in checks)
        if not unapplied_migrations():
            yield from examine_workers()
            yield examine_stuck_runs()


def examine_database() -> Finding:
    # A pool would retry for ten seconds and hide the reason.
    connection.settings_dict["OPTIONS"].pop("pool", None)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            number, version = cursor.fetchone()
    except DatabaseError as error:
        first_line = str(error).strip().splitlines()[0]
        return Finding(Level.FAIL, "database", first_line, "Start it (`make run`), or correct TRIGGER_DATABASE_URL.")
    if number < OLDEST_POSTGRES:
        return Finding(Level.FAIL, "database", f"PostgreSQL {version} is too old.", "Use PostgreSQL 15 or newer.")
    return Finding(Level.OK, "database", f"PostgreSQL {version}")


def examine_timeouts() -> Finding:
    """Checks the timeouts, set by our own connections or, behind a pooler, by the role."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM pg_settings WHERE name = ANY(%s) AND setting = '0' ORDER BY name",
            [list(settings.DATABASE_TIMEOUTS)],
        )
        missing = [name for (name,) in cursor.fetchall()]
        cursor.execute("SELECT current_user")
        role = cursor.fetchone()[0]
    if not missing:
        return Finding(Level.OK, "timeouts", "no statement, lock or idle transaction lasts for ever")
    commands = "; ".join(f"ALTER ROLE {role} SET {name} = {settings.DATABASE_TIMEOUTS[name]}" for name in missing)
    text = f"the role {role} has no {', '.join(missing)}, so one held row can block everybody"
    return Finding(Level.WARN, "timeouts", text, commands)


def examine_migrations() -> Finding:
    missing = unapplied_migrations()
    if missing:
        return Finding(Level.FAIL, "migrations", f"{len(missing)} not applied: {missing[0]} …", "manage.py migrate")
    return Finding(Level.OK, "migrations", "all applied")


def unapplied_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return [str(migration) for migration, _ in plan]


def examine_clock() -> Finding:
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float")
        theirs = cursor.fetchone()[0]
    skew = theirs - (before + time.time()) / 2
    text = f"the database's clock is {abs(skew):.3f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    if abs(skew) > ALLOWED_SKEW_SECONDS:
        return Finding(Level.WARN, "clock", text, "Synchronise both (NTP): otherwise times in logs will not match.")
    return Finding(Level.OK, "clock", text)


def examine_coordinator() -> Finding:
    url = coordinator_url()
    if not url:
        return Finding(
            Level.FAIL, "coordinator", "no address is known", "Start `make run`, or set TRIGGER_COORDINATOR_URL."
        )
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=3)) as client:
        try:
            client.request("GET", "/ready")
            status = client.getresponse().status
        except OSError as error:
            return Finding(
                Level.FAIL, "coordinator", f"{url} does not answer: {error}", "Start `manage.py runcoordinator`."
            )
    if status != http.client.OK:
        return Finding(Level.FAIL, "coordinator", f"{url}/ready answers {status}", "Look at its log.")
    if open_host := next(filter(is_every_network, listening_hosts(parts.port)), ""):
        text = f"{url} is ready, and listens on every network of this machine ({open_host})"
        mend = "Only the worker token protects it: start it with --host and the address that workers share."
        return Finding(Level.WARN, "coordinator", text, mend)
    return Finding(Level.OK, "coordinator", f"{url} is ready")


def listening_hosts(port: int | None) -> list[str]:
    """Returns where this machine's processes listen on that port, as far as we may see them."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        return []
    return [
        each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
    ]


def coordinator_url() -> str:
    """Returns the address from the environment, otherwise from the `make run` running on this `var/`."""
    if given := os.environ.get("TRIGGER_COORDINATOR_URL"):
        return given.rstrip("/")
    info = settings.VAR_DIR / "dev.json"
    return str(json.loads(info.read_text())["coordinator_url"]) if info.exists() else ""


def examine_space() -> Finding:
    folder = settings.VAR_DIR if settings.VAR_DIR.exists() else settings.BASE_DIR
    free = shutil.disk_usage(folder).free
    text = f"{free / 1024**3:.1f} GB free at {folder}"
    if free < LOW_SPACE_BYTES:
        return Finding(Level.FAIL if free < NO_SPACE_BYTES else Level.WARN, "space", text, "Free some space.")
    return Finding(Level.OK, "space", text)


def examine_workers() -> Iterator[Finding]:
    alive = list(Worker.objects.filter(stopped_at=None, last_seen_at__gt=Now() - ALIVE_FOR).order_by("name"))
    if not alive:
        yield Finding(Level.FAIL, "workers", "none is alive: runs stay pending", "Start `manage.py runworker`.")
    for worker in alive:
        text = f"{worker.name} runs {worker.concurrency} at once, executor {worker.executor}: {worker.executor_note}"
        is_isolated = worker.executor != "process"
        yield Finding(
            Level.OK if is_isolated else Level.WARN,
            "worker",
            text,
            "" if is_isolated else "Tasks are not isolated from this machine: give the worker a container engine.",
        )


def examine_stuck_runs() -> Finding:
    stuck = Run.objects.filter(state=RunState.RUNNING, lease_end__lt=Now() - ALIVE_FOR).count()
    if stuck:
        mend = "The coordinator ends such leases within seconds: check that it runs and reaches the database."
        return Finding(Level.FAIL, "runs", f"{stuck} are running on a lease that ended over a minute ago", mend)
    return Finding(Level.OK, "runs", "none is stuck")
