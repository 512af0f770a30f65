"""The migrations that bound stored times take databases in which older versions wrote others."""

from importlib import import_module
from typing import Any

import pytest
from django.db import connection

from apps.runs.models import Run
from apps.storage.times import STORED_FROM, STORED_UNTIL
from tests.factories import make_run

pytestmark = [pytest.mark.django_db, pytest.mark.sql]

MIGRATIONS = ("apps.runs.migrations.0005_stored_times", "apps.queues.migrations.0003_stored_times")


@pytest.mark.parametrize("time", ["infinity", "-infinity", "10000-01-01Z", "0044-03-15Z BC", "1999-12-31T23:59:59Z"])
def test_times_beyond_the_bounds_are_moved_to_them(time: str) -> None:
    run, other = make_run(state="delayed"), make_run(state="delayed")
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE runs_run DROP CONSTRAINT run_times_are_stored_ones")
        cursor.execute("UPDATE runs_run SET due_at = %s, expires_at = %s WHERE id = %s", [time, time, run.id])

        for name in MIGRATIONS:
            migration: Any = import_module(name)
            for table, column in migration.BOUNDED:
                cursor.execute(migration.BOUND.format(table=table, column=column))

    moved, kept = Run.objects.get(id=run.id), Run.objects.get(id=other.id)
    assert moved.due_at is not None
    assert moved.due_at == moved.expires_at
    assert STORED_FROM <= moved.due_at < STORED_UNTIL
    assert kept.due_at == other.due_at


def test_every_bounded_column_has_its_constraint() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'c'"
        )
        constraints = cursor.fetchall()

    for name in MIGRATIONS:
        migration: Any = import_module(name)
        for table, column in migration.BOUNDED:
            assert any(table == owner and f"{column} < '2200-01-01" in text for owner, text in constraints), column
