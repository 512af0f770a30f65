"""The hub against a real server: notifications, gaps, heartbeats."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from apps.live import hub as hub_module
from apps.live.hub import Change, Hub, Subscription, hub
from apps.live.notify import Notifier
from apps.live.topics import QUEUES, RUNS, Topic

pytestmark = pytest.mark.asyncio

FIRST_ID, SECOND_ID = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"
FIRST, SECOND = RUNS.topic(FIRST_ID), RUNS.topic(SECOND_ID)
EVERY_RUN = Topic("run")
DEADLINE_SECONDS = 60.0
HEARTBEAT = "SELECT pg_notify($1, '')"
TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s"


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


async def notify(database_url: str, payload: str, channel: str = RUNS.channel) -> None:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


async def heard(subscription: Subscription) -> list[Change]:
    assert await subscription.wait(DEADLINE_SECONDS)
    return subscription.take()


async def test_change_reaches_those_who_asked_for_it(database_server: str) -> None:
    async with (
        listening(database_server) as listener,
        listener.subscribed(FIRST) as one,
        listener.subscribed(EVERY_RUN) as every,
    ):
        await notify(database_server, f"{SECOND_ID},{FIRST_ID}")

        assert [change.topic for change in await heard(one)] == [FIRST]
        assert {change.topic for change in await heard(every)} == {FIRST, SECOND}


async def test_kinds_are_kept_apart(database_server: str) -> None:
    first, odd = QUEUES.topic(FIRST_ID), QUEUES.topic("mail, bulk: 100 %")
    async with (
        listening(database_server) as listener,
        listener.subscribed(FIRST) as run,
        listener.subscribed(Topic("queue")) as queues,
    ):
        await notify(database_server, f"{first.key},{odd.key}", QUEUES.channel)
        await notify(database_server, SECOND_ID)
        await notify(database_server, FIRST_ID)

        assert [change.topic for change in await heard(run)] == [FIRST]
        assert [change.topic for change in queues.take()] == [first, odd]


async def test_change_between_subscribing_and_waiting_is_heard(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        await notify(database_server, FIRST_ID)
        async with listener.subscribed(FIRST) as later:  # heard by the time that a second notification is
            await notify(database_server, FIRST_ID)
            await heard(later)

        assert await subscription.wait(0)


async def test_wait_for_change_returns_at_once_when_the_run_changes(database_server: str) -> None:
    async with listening(database_server) as listener:
        waiting = asyncio.create_task(listener.wait_for_change(FIRST, DEADLINE_SECONDS))
        await asyncio.sleep(0)
        begun = time.monotonic()
        await notify(database_server, FIRST_ID)

        assert await waiting
        assert time.monotonic() - begun < DEADLINE_SECONDS / 2


async def test_wait_for_change_ends_with_its_time(database_server: str) -> None:
    async with listening(database_server) as listener:
        assert not await listener.wait_for_change(SECOND, 0.05)


async def test_broken_connection_is_replaced_and_everybody_reads_again(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        await end_listeners(database_server)

        assert (await heard(subscription))[0].is_resync
        await notify(database_server, FIRST_ID)
        assert [change.topic for change in await heard(subscription)] == [FIRST]


async def test_missing_heartbeat_means_another_connection(
    database_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "HEARTBEAT_SECONDS", 0.1)
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        listener._heartbeat_channel = "another_channel"  # what comes back is no longer ours

        assert (await heard(subscription))[0].is_resync


async def test_silent_database_is_noticed_and_heard_again(
    database_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frozen server keeps its connections open: no error ends them, and no timeout of its own."""
    monkeypatch.setattr(hub_module, "HEARTBEAT_SECONDS", 0.5)
    monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 0.5)
    async with (
        relayed(database_server) as (url, is_passing),
        listening(url) as listener,
        listener.subscribed(FIRST) as subscription,
    ):
        changes: asyncio.Queue[bool] = asyncio.Queue()
        listener.on_listening_changed = lambda: changes.put_nowait(listener.is_listening.is_set())

        is_passing.clear()
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await changes.get() is False
        is_passing.set()

        assert (await heard(subscription))[0].is_resync
        assert listener.is_listening.is_set()


async def test_hub_waits_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(hub_module, "RECONNECT_SECONDS", (0.01, 0.02))
    absent = Hub(f"postgres://nobody@%2Fnonexistent%2F{id(tmp_path)}/none")

    assert not await absent.wait_for_change(FIRST, 0.2)
    assert not absent.is_listening.is_set()
    await absent.stop()


async def test_overflowing_queue_drops_and_asks_for_a_new_read() -> None:
    subscription = Subscription(limit=3)

    for version in range(1, 10):
        subscription.put(Change(Topic("run", f"{version}"), version))

    taken = subscription.take()
    assert [change.is_resync for change in taken] == [True]
    subscription.put(Change(Topic("run", "10"), 10))
    assert [change.topic for change in subscription.take()] == [Topic("run", "10")]


async def test_last_word_on_each_topic_is_taken_once() -> None:
    subscription = Subscription()
    for version, topic in enumerate((FIRST, SECOND, FIRST)):
        subscription.put(Change(topic, version))

    assert [(change.topic, change.version) for change in subscription.take()] == [(FIRST, 2), (SECOND, 1)]
    assert not await subscription.wait(0)


async def test_ended_subscriptions_leave_nothing_behind(database_server: str) -> None:
    async with listening(database_server) as listener:
        async with listener.subscribed(FIRST, EVERY_RUN):
            assert set(listener._subscriptions) == {FIRST, EVERY_RUN}

        assert listener._subscriptions == {}


async def test_what_the_verbs_publish_is_heard(database_server: str) -> None:
    async with listening(database_server) as listener, listener.subscribed(FIRST) as subscription:
        notifier = Notifier(database_server)
        notifier.publish(RUNS.channel, [FIRST_ID])

        assert [change.topic for change in await heard(subscription)] == [FIRST]


async def test_there_is_one_hub_for_each_loop() -> None:
    assert hub() is hub()


async def end_listeners(database_url: str) -> None:
    """Ends the hub's connection and nobody else's, as soon as there is one: its last statement is its heartbeat."""
    ended = 0
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not ended:
                ended = (await connection.execute(TERMINATE, (HEARTBEAT,))).rowcount


@asynccontextmanager
async def relayed(database_url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The database behind a relay that passes nothing on while the event is not set."""
    is_passing = asyncio.Event()
    is_passing.set()
    found = conninfo_to_dict(database_url)
    host, port = str(found["host"]), int(found.get("port") or 5432)
    pipes: set[asyncio.Task[None]] = set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{host}/.s.PGSQL.{port}"
        far = await (asyncio.open_unix_connection(path) if host[0] == "/" else asyncio.open_connection(host, port))
        pipes.update({asyncio.create_task(pipe(reader, far[1])), asyncio.create_task(pipe(far[0], writer))})

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                await is_passing.wait()
                writer.write(data)
        writer.close()

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    port_here = server.sockets[0].getsockname()[1]
    try:
        yield make_conninfo(database_url, host="127.0.0.1", port=port_here, sslmode="disable"), is_passing
    finally:
        is_passing.set()
        server.close()
        await asyncio.wait(pipes, timeout=DEADLINE_SECONDS)
