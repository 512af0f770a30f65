"""The hub against a real server: notifications, gaps, heartbeats."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from apps.live import hub as hub_module
from apps.live.hub import ALL_RUNS, Change, Hub, Subscription, hub
from apps.live.notify import RUNS_CHANNEL, Notifier

pytestmark = pytest.mark.asyncio

FIRST, SECOND = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"
DEADLINE_SECONDS = 60.0


@asynccontextmanager
async def listening(database_url: str) -> AsyncIterator[Hub]:
    listener = Hub(database_url)
    listener.start()
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await listener.is_listening.wait()
        yield listener
    finally:
        await listener.stop()


async def notify(database_url: str, payload: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify(%s, %s)", (RUNS_CHANNEL, payload))


async def heard(subscription: Subscription) -> list[Change]:
    assert await subscription.wait(DEADLINE_SECONDS)
    return subscription.take()


async def test_change_reaches_those_who_asked_for_it(database_server: str) -> None:
    async with (
        listening(database_server) as listener,
        listener.subscribed(FIRST) as one,
        listener.subscribed(ALL_RUNS) as every,
    ):
        await notify(database_server, f"{SECOND},{FIRST}")

        assert [change.run_id for change in await heard(one)] == [FIRST]
        assert {change.run_id for change in await heard(every)} == {FIRST, SECOND}


async def test_change_between_subscribing_and_waiting_is_heard(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        await notify(database_server, FIRST)
        async with listener.subscribed(FIRST) as later:  # heard by the time that a second notification is
            await notify(database_server, FIRST)
            await heard(later)

        assert await subscription.wait(0)


async def test_wait_for_change_returns_at_once_when_the_run_changes(database_server: str) -> None:
    async with listening(database_server) as listener:
        waiting = asyncio.create_task(listener.wait_for_change(FIRST, DEADLINE_SECONDS))
        await asyncio.sleep(0)
        begun = time.monotonic()
        await notify(database_server, FIRST)

        assert await waiting
        assert time.monotonic() - begun < DEADLINE_SECONDS / 2


async def test_wait_for_change_ends_with_its_time(database_server: str) -> None:
    async with listening(database_server) as listener:
        assert not await listener.wait_for_change(SECOND, 0.05)


async def test_broken_connection_is_replaced_and_everybody_reads_again(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        await end_listeners(database_server)

        assert (await heard(subscription))[0].is_resync
        await notify(database_server, FIRST)
        assert [change.run_id for change in await heard(subscription)] == [FIRST]


async def test_missing_heartbeat_means_another_connection(
    database_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_SECONDS", 0.1)
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        listener._heartbeat_channel = "another_channel"  # what comes back is no longer ours

        assert (await heard(subscription))[0].is_resync


async def test_hub_waits_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(hub_module, "RECONNECT_SECONDS", (0.01, 0.02))
    absent = Hub(f"postgres://nobody@%2Fnonexistent%2F{id(tmp_path)}/none")

    assert not await absent.wait_for_change(FIRST, 0.2)
    assert not absent.is_listening.is_set()
    await absent.stop()


async def test_overflowing_queue_drops_and_asks_for_a_new_read() -> None:
    subscription = Subscription(limit=3)

    for version in range(1, 10):
        subscription.put(Change(f"run-{version}", version))

    taken = subscription.take()
    assert [change.is_resync for change in taken] == [True]
    subscription.put(Change("run-10", 10))
    assert [change.run_id for change in subscription.take()] == ["run-10"]


async def test_last_word_on_each_run_is_taken_once() -> None:
    subscription = Subscription()
    for version, run_id in enumerate((FIRST, SECOND, FIRST)):
        subscription.put(Change(run_id, version))

    assert [(change.run_id, change.version) for change in subscription.take()] == [(FIRST, 2), (SECOND, 1)]
    assert not await subscription.wait(0)


async def test_ended_subscriptions_leave_nothing_behind(database_server: str) -> None:
    async with listening(database_server) as listener:
        async with listener.subscribed(FIRST, ALL_RUNS):
            assert set(listener._subscriptions) == {FIRST, ALL_RUNS}

        assert listener._subscriptions == {}


async def test_what_the_verbs_publish_is_heard(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        notifier = Notifier(database_server)
        notifier.publish(RUNS_CHANNEL, [FIRST])

        assert [change.run_id for change in await heard(subscription)] == [FIRST]


async def test_there_is_one_hub_for_each_loop() -> None:
    assert hub() is hub()


async def end_listeners(database_url: str) -> None:
    """Ends the hubs' connections and nobody else's: the last statement of each is its heartbeat."""
    heartbeat = "SELECT pg_notify($1, '')"
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s", (heartbeat,)
        )
