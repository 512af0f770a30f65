"""Announcements reach a listener, coalesced and whole, and survive the death of the connection that carries them."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import transaction

from apps.live import notify
from apps.live.notify import PAYLOAD_MAX_BYTES, PENDING_CHANNEL, Notifier, announce, announce_now
from apps.live.topics import QUEUES, RUNS

DEADLINE_SECONDS = 20.0


@pytest.fixture
def listener(database_server: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_server, autocommit=True) as connection:
        for channel in (PENDING_CHANNEL, RUNS.channel, QUEUES.channel):
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
        notifier.publish(RUNS.channel, [run_id])

    assert len(hear(listener, RUNS.channel, ids)) < len(ids) / 5
    assert notifier.flush()


def test_announcement_is_sent_again_when_its_connection_has_died(
    database_server: str, listener: psycopg.Connection
) -> None:
    notifier = Notifier(database_server)
    notifier.publish(RUNS.channel, ["before"])
    hear(listener, RUNS.channel, {"before"})
    assert notifier.flush()

    listener.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'SELECT pg_notify%' AND pid <> pg_backend_pid()"
    )
    notifier.publish(RUNS.channel, ["after"])

    assert hear(listener, RUNS.channel, {"after"}) == ["after"]


@pytest.fixture
def here(database_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this test announces goes to the database that its listener is on."""
    monkeypatch.setattr(notify, "_notifier", Notifier(database_server))


@pytest.mark.usefixtures("here")
def test_names_with_commas_arrive_whole(listener: psycopg.Connection) -> None:
    names = ["default", "mail, bulk", "größe: 100 %"]

    announce_now(QUEUES, names)

    keys = {QUEUES.topic(name).key for name in names}
    assert set(",".join(hear(listener, QUEUES.channel, keys)).split(",")) == keys


@pytest.mark.usefixtures("here")
def test_the_longest_names_fit_into_notifications(listener: psycopg.Connection) -> None:
    names = [f"{number:03}" + "🚀" * 125 for number in range(20)]

    announce_now(QUEUES, names)

    payloads = hear(listener, QUEUES.channel, {QUEUES.topic(name).key for name in names})
    assert max(map(len, payloads)) <= PAYLOAD_MAX_BYTES
    assert len(payloads) < len(names)


@pytest.mark.usefixtures("here")
@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_announced(listener: psycopg.Connection) -> None:
    with transaction.atomic():
        announce(QUEUES, ["rolled back"])
        transaction.set_rollback(True)
    with transaction.atomic():
        announce(QUEUES, ["committed"])

    assert hear(listener, QUEUES.channel, {"committed"}) == ["committed"]


@pytest.mark.usefixtures("here")
def test_nothing_is_announced_of_nothing() -> None:
    announce_now(RUNS, [])

    assert notify.notifier()._thread is None
