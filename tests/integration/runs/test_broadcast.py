"""Announcements reach a listener, coalesced, and survive the death of the connection that carries them."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from apps.runs.broadcast import PENDING_CHANNEL, RUNS_CHANNEL, Notifier

DEADLINE_SECONDS = 60.0


@pytest.fixture
def listener(database_server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_server, autocommit=True) as connection:
        for channel in (PENDING_CHANNEL, RUNS_CHANNEL):
            connection.execute(f"LISTEN {channel}".encode())
        yield connection


def hear(listener: psycopg.Connection, channel: str, wanted: set[str]) -> list[str]:
    """The payloads of the channel until all wanted ids were in one."""
    heard: list[str] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not wanted <= set(",".join(heard).split(",")):
        assert time.monotonic() < deadline, f"heard only {heard}"
        heard += [n.payload for n in listener.notifies(timeout=0.2) if n.channel == channel]
    return heard


def test_many_ids_are_announced_in_few_notifications(database_server: str, listener: psycopg.Connection) -> None:
    notifier = Notifier(database_server)
    ids = {f"{number:036d}" for number in range(500)}

    for run_id in ids:
        notifier.publish(RUNS_CHANNEL, [run_id])

    assert len(hear(listener, RUNS_CHANNEL, ids)) < len(ids) / 5
    assert notifier.flush()


def test_announcement_is_sent_again_when_its_connection_has_died(
    database_server: str, listener: psycopg.Connection
) -> None:
    notifier = Notifier(database_server)
    notifier.publish(RUNS_CHANNEL, ["before"])
    hear(listener, RUNS_CHANNEL, {"before"})
    assert notifier.flush()

    listener.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'SELECT pg_notify%' AND pid <> pg_backend_pid()"
    )
    notifier.publish(RUNS_CHANNEL, ["after"])

    assert hear(listener, RUNS_CHANNEL, {"after"}) == ["after"]
