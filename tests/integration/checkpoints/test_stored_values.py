"""What the codec writes, in a real column: Postgres takes it, gives it back byte for byte, and SQL can read it."""

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from trigger_sdk.values.codec import decode, encode

from tests.stored_values import same, values

SAMPLE = 600
WHOLE = 20_000


@pytest.mark.parametrize("count", [SAMPLE, pytest.param(WHOLE, marks=pytest.mark.long)])
def test_values_come_back_byte_for_byte_from_a_json_column(new_database: str, count: int) -> None:
    stored: list[tuple[bytes, Any]] = []

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(values)
    def gather(value: Any) -> None:
        stored.append((encode(value), value))

    gather()
    with psycopg.connect(new_database) as connection:
        connection.execute("CREATE TABLE stored (number integer PRIMARY KEY, data json NOT NULL)")
        with connection.cursor().copy("COPY stored FROM STDIN") as copy:
            for number, (text, _) in enumerate(stored):
                copy.write_row((number, text.decode()))
        rows = connection.execute("SELECT data::text FROM stored ORDER BY number").fetchall()
        readable = connection.execute("SELECT count(*) FROM stored WHERE jsonb_typeof(data::jsonb) IS NOT NULL")

        assert readable.fetchone() == (len(stored),)

    assert len(stored) >= count * 0.95
    assert [row[0].encode() for row in rows] == [text for text, _ in stored]
    assert all(same(decode(row[0].encode()), value) for row, (_, value) in zip(rows, stored, strict=True))


def test_sql_reads_what_a_person_would_look_for(new_database: str) -> None:
    text = encode({"order": {"id": "A1", "total": 12}, "$type": "mine"}).decode()

    with psycopg.connect(new_database) as connection:
        row = connection.execute("SELECT %s::json #>> '{value,order,id}'", [text]).fetchone()

    assert row == ("A1",)
