"""What the watch of the database says of one that is empty, migrated or not there."""

import asyncio
import os
import subprocess
import sys
import time

import pytest
from django.conf import settings

from trigger_site.edge.database_watch import DatabaseWatch

pytestmark = pytest.mark.sql

DEADLINE_SECONDS = 60.0


def watched_until(url: str, part: str) -> str:
    """What the watch says as soon as that is in it; an empty part waits for a database that is ready."""

    async def wait() -> str:
        watch = DatabaseWatch(url)
        watch.start()
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not (part in watch.unready if part else not watch.unready):
                assert time.monotonic() < deadline, watch.unready
                await asyncio.sleep(0.05)
            return watch.unready
        finally:
            await watch.stop()

    return asyncio.run(wait())


def migrate(url: str, *arguments: str) -> None:
    environment = os.environ | {"TRIGGER_DATABASE_URL": url}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0", *arguments]
    subprocess.run(command, cwd=settings.BASE_DIR, env=environment, check=True)


def test_an_empty_database_and_one_that_lags_behind_are_to_be_migrated(empty_database: str) -> None:
    assert "manage.py migrate" in watched_until(empty_database, "not migrated")
    migrate(empty_database, "runs", "0001")
    assert "manage.py migrate" in watched_until(empty_database, "migrations are not applied")
    migrate(empty_database)
    assert watched_until(empty_database, "") == ""


def test_a_database_that_is_not_there_is_away() -> None:
    assert "not answered" in watched_until("postgres://nobody@127.0.0.1:9/none", "not answered")
