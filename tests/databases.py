"""The server under test and databases on it: a template that has all migrations, and copies of the template.

The session's own cluster is itself a copy of one that an earlier session made, kept under a key of all that went into
it. `TRIGGER_TEST_DATABASE_URL` names a server to use instead (the role must be allowed to create databases).
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.session import IS_XDIST_WORKER, session_dir
from trigger_site.development import postgres as embedded_postgres
from trigger_site.development.binaries import Binaries, account_for, find_binaries, major_of
from trigger_site.development.local import DATABASE_NAME, database_url
from trigger_site.development.postgres import EmbeddedPostgres

SESSION_DIR = session_dir()
ROOT = Path(__file__).resolve().parents[1]
KEPT_DIR = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trigger-site-tests"
KEPT_COUNT = 8
"""Of clusters, 50 MB each: two versions of Postgres for a few states of the migrations."""

KEPT_SECONDS = 3600.0
"""At least, since the last use: a session may be copying it."""

GIVEN_SERVER = os.environ.get("TRIGGER_TEST_DATABASE_URL", "")
SERVER_URL = GIVEN_SERVER or database_url(SESSION_DIR / "socket")
TEMPLATE = f"trigger_template_{SESSION_DIR.name.replace('-', '_')}" if GIVEN_SERVER else "trigger_template"

# Installations of several processes have their pools here at the same time.
embedded_postgres.NOT_DURABLE["max_connections"] = "300"


def chosen_binaries() -> Binaries:
    """`TRIGGER_TEST_POSTGRES` is a major version, or a folder with `postgres` in it."""
    choice = os.environ.get("TRIGGER_TEST_POSTGRES", "")
    if choice.isdigit():
        return find_binaries(int(choice))
    if choice:
        return Binaries(Path(choice), major_of(Path(choice)))
    return find_binaries()


CLUSTER = EmbeddedPostgres(SESSION_DIR / "postgres", SESSION_DIR / "socket", is_durable=False)
_is_ready = False


def start_server() -> None:
    """Once; the controller of a parallel session starts it for all of its processes."""
    global _is_ready
    if _is_ready or IS_XDIST_WORKER:
        return
    if GIVEN_SERVER:
        make_template(GIVEN_SERVER)
    else:
        CLUSTER.binaries = chosen_binaries()
        copy_cluster(CLUSTER.data_dir)
        CLUSTER.start()
    _is_ready = True


def stop_server() -> None:
    if GIVEN_SERVER and _is_ready:
        _execute(GIVEN_SERVER, "DROP DATABASE IF EXISTS {}", TEMPLATE)
    CLUSTER.stop()


def new_cluster(folder: Path) -> EmbeddedPostgres:
    """A running cluster of the caller's own, whose database has all migrations."""
    cluster = EmbeddedPostgres(folder / "pg", folder / "s", binaries=chosen_binaries(), is_durable=False)
    copy_cluster(cluster.data_dir)
    cluster.start()
    return cluster


@contextmanager
def database(*, is_empty: bool = False) -> Iterator[str]:
    """The address of a database for processes that a test starts: with all migrations, or empty."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(SERVER_URL, "CREATE DATABASE {} TEMPLATE {}", name, "template1" if is_empty else TEMPLATE)
    try:
        yield database_at(SERVER_URL, name)
    finally:
        _execute(SERVER_URL, "DROP DATABASE {} WITH (FORCE)", name)


def database_at(server: str, name: str) -> str:
    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


def copy_cluster(target: Path) -> None:
    """A stopped cluster, all of whose databases have all migrations; it belongs to the user that will run it."""
    kept = KEPT_DIR / _key()
    if not (kept / "PG_VERSION").exists():
        made = _make_cluster()
        _keep(made, kept)
        made.rename(target)
        return
    kept.touch()
    _copy(kept, target)


def _make_cluster() -> Path:
    folder = SESSION_DIR / f"new-{secrets.token_hex(4)}"
    folder.mkdir()
    folder.chmod(0o711)
    cluster = EmbeddedPostgres(folder / "postgres", folder / "s", binaries=chosen_binaries(), is_durable=False)
    cluster.start()
    try:
        make_template(cluster.url)
        server = database_at(cluster.url, "postgres")
        _execute(server, "DROP DATABASE {}", DATABASE_NAME)
        _execute(server, "CREATE DATABASE {} TEMPLATE {}", DATABASE_NAME, TEMPLATE)
    finally:
        cluster.stop()
    return cluster.data_dir


def make_template(server: str) -> None:
    _execute(server, "CREATE DATABASE {}", TEMPLATE)
    variables = os.environ | {"TRIGGER_DATABASE_URL": database_at(server, TEMPLATE)}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=variables, check=True)


def _keep(made: Path, kept: Path) -> None:
    """For sessions to come; a machine on which that fails makes one for each session."""
    with suppress(OSError, subprocess.CalledProcessError):
        KEPT_DIR.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"{kept.name}.{SESSION_DIR.name}")
        _copy(made, partial)
        with suppress(OSError):  # another session was faster
            partial.rename(kept)
        shutil.rmtree(partial, ignore_errors=True)
        used = {path: path.stat().st_mtime for path in KEPT_DIR.iterdir()}
        for old in sorted(used, key=lambda path: -used[path])[KEPT_COUNT:]:
            if time.time() - used[old] > KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-Rp", str(source), str(target)], check=True, capture_output=True)


def _key() -> str:
    """Of the programs, of how they are called, and of all that the migrations are made of."""
    binaries = chosen_binaries()
    version = subprocess.run([binaries.path("postgres"), "--version"], capture_output=True, check=True).stdout
    size = (binaries.folder / "postgres").stat().st_size  # tells builds of one version apart, wherever they lie
    parts = [version, str(size).encode(), account_for(KEPT_DIR / "none").name.encode()]
    sources = [Path(__file__), Path(str(embedded_postgres.__file__)), ROOT / "requirements" / "runtime.txt"]
    sources += [path for path in (ROOT / "apps").rglob("*.py") if path.parent.name == "migrations"]
    parts += [path.read_bytes() for path in (*sources, *(ROOT / "apps").rglob("fields.py"))]
    return f"{binaries.major}-{hashlib.sha256(b'|'.join(sorted(parts))).hexdigest()[:16]}"


def _execute(server: str, statement: str, *names: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
