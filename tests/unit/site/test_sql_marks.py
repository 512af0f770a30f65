"""What depends on Postgres itself is repeated on its oldest version: modules that have SQL carry the mark."""

import pytest

from tests.sql_marks import FOLDERS, INTEGRATION, OWN_MARK, SIGNS, WITHOUT, unmarked_modules


def test_modules_with_sql_are_marked() -> None:
    assert unmarked_modules() == []
    assert {path.name for path in INTEGRATION.iterdir()} >= FOLDERS
    assert all((INTEGRATION / name).exists() for name in WITHOUT)


@pytest.mark.parametrize(
    "line",
    [
        "    with connection.cursor() as cursor:",
        "import psycopg",
        "    assert EXPIRE_RUNS.text",
        "from tests.callers import at_once",
        '    command = [sys.executable, "manage.py", "migrate"]',
    ],
)
def test_a_sign_of_sql_is_seen(line: str) -> None:
    assert SIGNS.search(f"import json\n{line}\n")


def test_a_page_is_no_sign_and_a_mark_is_seen_among_others() -> None:
    assert not SIGNS.search("from django.db import connection\nanswer = client.get('/runs')\n")
    assert OWN_MARK.search("pytestmark = [pytest.mark.django_db, pytest.mark.sql]\n")
    assert not OWN_MARK.search("pytestmark = pytest.mark.django_db\n")
