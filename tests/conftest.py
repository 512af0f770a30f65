"""The test session's own surroundings: a folder for `var/`, and a database cluster that starts when a test asks for it.

`TRIGGER_TEST_DATABASE_URL` names a server to use instead (the role must be allowed to create databases);
`TRIGGER_TEST_POSTGRES` chooses the cluster's programs: a major version or a folder with `postgres` in it.
`TRIGGER_TEST_REQUIRE=all` makes a skipped test fail, for machines on which every part must be present.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import django
import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from trigger_site.development.binaries import Binaries, find_binaries, major_of
from trigger_site.development.local import database_url
from trigger_site.development.postgres import EmbeddedPostgres

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ
KEPT_VARIABLES = {"TRIGGER_BASE_IMAGE"}


def enter_session_dir() -> Path:
    """One folder per session; the processes of a parallel session share their controller's."""
    if IS_XDIST_WORKER:
        return Path(os.environ["TRIGGER_TEST_SESSION_DIR"])
    folder = Path(tempfile.mkdtemp(prefix="trigger-tests-"))
    folder.chmod(0o711)  # the database runs as another user when we are root
    os.environ["TRIGGER_TEST_SESSION_DIR"] = str(folder)
    return folder


SESSION_DIR = enter_session_dir()
GIVEN_SERVER = os.environ.get("TRIGGER_TEST_DATABASE_URL", "")
SERVER_URL = GIVEN_SERVER or database_url(SESSION_DIR / "socket")

for _name in list(os.environ):  # nothing of the developer's own installation gets in
    if _name.startswith("TRIGGER_") and not _name.startswith("TRIGGER_TEST_") and _name not in KEPT_VARIABLES:
        del os.environ[_name]
os.environ["TRIGGER_ENV"] = "development"
os.environ["TRIGGER_VAR_DIR"] = str(SESSION_DIR / "var")
os.environ["TRIGGER_DATABASE_URL"] = SERVER_URL
os.environ["DJANGO_SETTINGS_MODULE"] = "trigger_site.settings"
django.setup()
# The real one takes most of a second each time; tests/integration/access/test_hashing.py is about it.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def chosen_binaries() -> Binaries:
    choice = os.environ.get("TRIGGER_TEST_POSTGRES", "")
    if choice.isdigit():
        return find_binaries(int(choice))
    if choice:
        return Binaries(Path(choice), major_of(Path(choice)))
    return find_binaries()


CLUSTER = EmbeddedPostgres(SESSION_DIR / "postgres", SESSION_DIR / "socket", is_durable=False)


def start_cluster() -> None:
    if GIVEN_SERVER or IS_XDIST_WORKER or CLUSTER.process is not None:
        return
    CLUSTER.binaries = chosen_binaries()
    CLUSTER.start()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="runs the long tier too: tests marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long tier out where it is not asked for; unlike a skip, this is no part that is missing."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    config.hook.pytest_deselected(items=long)


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("numprocesses", None):  # the controller starts for all its workers
        start_cluster()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield))


def refuse_skip(report: Report) -> Report:
    if report.skipped and os.environ.get("TRIGGER_TEST_REQUIRE") == "all":
        report.outcome = "failed"
        report.longrepr = f"skipped, but TRIGGER_TEST_REQUIRE=all: {report.longrepr}"
    return report


def pytest_unconfigure() -> None:
    CLUSTER.stop()
    if not IS_XDIST_WORKER:
        shutil.rmtree(SESSION_DIR, ignore_errors=True)


@pytest.fixture(scope="session")
def database_server() -> str:
    """The address of the server under test, started at its first use."""
    start_cluster()
    return SERVER_URL


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, database_server: str) -> None:
    """Starts the server before pytest-django creates its test database; tests without a database never get here."""


@pytest.fixture(autouse=True)
def no_wrong_keys() -> None:
    """What other tests sent from this address is forgotten."""
    from apps.access.key_brake import key_brake

    key_brake.clear()


@pytest.fixture
def new_database(database_server: str) -> Iterator[str]:
    """The address of an empty database of this test's own, for processes that the test starts."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield urlunsplit(urlsplit(database_server)._replace(path=f"/{name}"))
    with psycopg.connect(database_server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
