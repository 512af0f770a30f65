"""How the tests run: their surroundings, their order and how parallel processes share them, and what is left out.

`TRIGGER_TEST_REQUIRE=all` makes a skipped test fail, for machines on which every part must be present. The server under
test is `databases.py`, the session's folder `session.py`.
"""

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar

import django
import pytest
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase

from tests.databases import SERVER_URL, SESSION_DIR, TEMPLATE, database, start_server, stop_server
from tests.distribution import Distribution, is_of_browser, rank
from tests.models import proved
from tests.session import leave_session_dir
from trigger_site.timeouts import lengthen_for_migrations, restore_after_migrations

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

KEPT_VARIABLES = {"TRIGGER_BASE_IMAGE"}
HAS_FAILED = pytest.StashKey[bool]()

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


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # Shorter than pytest's own choice, because sockets lie below it too; parallel processes are given theirs.
    if config.option.basetemp is None:
        config.option.basetemp = str(SESSION_DIR / "p")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="runs the long tier too: tests marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long tier out where it is not asked for; unlike a skip, this is no part that is missing."""
    items.sort(key=rank)
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)


@pytest.hookimpl(wrapper=True, tryfirst=True, specname="pytest_collection_modifyitems")
def pytest_put_browser_last(items: list[pytest.Item]) -> Generator[None, None, None]:
    """Whatever else changes the order, as `--failed-first` does."""
    yield
    items.sort(key=is_of_browser)


def pytest_collection_finish() -> None:
    """Thousands of tests and their modules stay to the end: no later collection needs to look at them again."""
    gc.collect()
    gc.freeze()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Distribution:
    return Distribution(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("numprocesses", None):  # the controller starts for all its workers
        start_server()


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


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What failed may have left something to read; where a person stopped the session, or all passed, nothing has."""
    session.config.stash[HAS_FAILED] = session.exitstatus == pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    stop_server()
    leave_session_dir(SESSION_DIR, is_kept=config.stash.get(HAS_FAILED, False))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"what the tests wrote stays until the next session: {SESSION_DIR}")
    given = [Path(argument.partition("::")[0]).resolve() for argument in config.args]
    if not config.getoption("--long") and any(is_related(path, proved.HERE) for path in given):
        names = sorted(path.stem.removeprefix("test_") for path in proved.unchanged_modules())
        terminalreporter.write_line(f"models unchanged since `make prove`, so left out: {', '.join(names) or 'none'}")


def is_related(path: Path, other: Path) -> bool:
    return path.is_relative_to(other) or other.is_relative_to(path)


@pytest.fixture(scope="session")
def database_server() -> str:
    """The address of the server under test, started at its first use."""
    start_server()
    return SERVER_URL


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None, database_server: str) -> None:
    """Starts the server before pytest-django creates its test database; tests without a database never get here."""
    settings.DATABASES["default"]["TEST"]["TEMPLATE"] = TEMPLATE


@pytest.fixture(autouse=True)
def no_wrong_keys() -> None:
    """What other tests sent from this address is forgotten."""
    from apps.access.key_brake import key_brake

    key_brake.clear()


@pytest.fixture(autouse=True)
def patient_transaction(_django_db_marker: None) -> None:
    """The transaction around a test may idle: the product's bound is for its own, and a busy machine is slow."""
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")


@pytest.fixture(autouse=True, scope="session")
def patient_flush() -> Iterator[None]:
    """Emptying the tables after a test waits for a server that still answers; the product would not wait that long."""
    flush = TransactionTestCase._fixture_teardown

    def flush_patiently(self: TransactionTestCase) -> None:
        lengthen_for_migrations()
        try:
            flush(self)
        finally:
            restore_after_migrations()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", flush_patiently)
        yield


@pytest.fixture
def new_database(database_server: str) -> Iterator[str]:
    """The address of a database of this test's own, for processes that the test starts."""
    with database() as url:
        yield url


@pytest.fixture
def empty_database(database_server: str) -> Iterator[str]:
    """The same without any migration."""
    with database(is_empty=True) as url:
        yield url
