"""The dashboard's socket, through the site's own ASGI entry: origin, session, permission, topics."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from apps.access.permissions import ALLOWED_ROLES, Action
from apps.live import beats, sockets
from apps.live.hub import hub
from apps.live.notify import announce_now
from apps.live.topics import QUEUES, RUNS, TOPIC_KINDS
from apps.runs.models import Run
from tests.factories import make_run, make_user
from trigger_site.asgi import application

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

DEADLINE_SECONDS = 60.0
OWN_ORIGIN = b"http://localhost"
HEARTBEAT = "SELECT pg_notify($1, '')"
EVERY_KIND = [kind.all for kind in TOPIC_KINDS.values()]


def end_hubs() -> None:
    """Ends the connection of every hub; its last statement is its heartbeat."""
    with connection.cursor() as cursor:
        ended = 0
        while not ended:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s", [HEARTBEAT])
            ended = cursor.rowcount


def cookie_of(user: User) -> str:
    client = Client()
    client.force_login(user)
    return f"sessionid={client.cookies['sessionid'].value}"


class Socket:
    """The browser's end. `channels.testing` has one, but imports daphne, which we do not have."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        scope = {
            "type": "websocket",
            "path": "/ws/dashboard",
            "query_string": b"",
            "headers": headers,
            "subprotocols": [],
        }
        self._peer = ApplicationCommunicator(application, scope)

    async def connect(self) -> bool:
        await self._peer.send_input({"type": "websocket.connect"})
        answer = await self.receive()
        return bool(answer["type"] == "websocket.accept")

    async def receive(self) -> dict[str, Any]:
        answer: dict[str, Any] = await self._peer.receive_output(DEADLINE_SECONDS)
        return answer

    async def send(self, message: Any) -> None:
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self._peer.send_input({"type": "websocket.receive", "text": text})

    async def next(self, name: str) -> Any:
        """The next message with that field; others may come before it."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                message = json.loads((await self.receive())["text"])
                if name in message:
                    return message

    async def close(self) -> None:
        await self._peer.send_input({"type": "websocket.disconnect", "code": 1000})
        await self._peer.wait(DEADLINE_SECONDS)


@asynccontextmanager
async def opened(user: User | None, origin: bytes = OWN_ORIGIN) -> AsyncIterator[tuple[Socket, bool]]:
    headers = [(b"origin", origin), (b"host", b"localhost")]
    if user is not None:
        headers.append((b"cookie", (await sync_to_async(cookie_of)(user)).encode()))
    socket = Socket(headers)
    is_accepted = await socket.connect()
    try:
        yield socket, is_accepted
    finally:
        await socket.close()
        await hub().stop()


async def superuser() -> User:
    return await sync_to_async(make_user)("", is_superuser=True)


async def new_run() -> Run:
    return await sync_to_async(make_run)()


async def test_subscriber_hears_which_run_changed_and_nothing_else() -> None:
    run, other = await new_run(), await new_run()

    async with opened(await superuser()) as (socket, is_accepted):
        assert is_accepted
        await socket.send({"subscribe": ["runs", f"run:{run.public_id}"]})
        await socket.next("subscribed")
        await socket.next("resync")  # the hub listens now; changes before it are covered by it
        announce_now(RUNS, [other.id])
        announce_now(RUNS, [run.id])

        heard = [await socket.next("topic") for _ in range(3)]

    assert {(message["topic"], message["id"]) for message in heard} == {
        ("runs", other.public_id),
        ("runs", run.public_id),
        (f"run:{run.public_id}", run.public_id),
    }
    assert all(set(message) == {"topic", "id", "version"} for message in heard)


async def test_unsubscribed_topic_is_silent() -> None:
    run, other = await new_run(), await new_run()

    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": [f"run:{run.public_id}", f"run:{other.public_id}"]})
        await socket.next("resync")  # the hub listens now; changes before it are covered by it
        await socket.send({"unsubscribe": [f"run:{run.public_id}"]})
        await socket.send({"subscribe": ["nonsense"]})
        await socket.next("refused")  # by now the message before it was obeyed
        announce_now(RUNS, [run.id])
        announce_now(RUNS, [other.id])

        assert (await socket.next("topic"))["id"] == other.public_id


async def test_topic_of_a_name_is_heard_under_that_name() -> None:
    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": ["queue:mail, bulk: 100 %", "queues"]})
        await socket.next("resync")
        announce_now(QUEUES, ["other"])
        announce_now(QUEUES, ["mail, bulk: 100 %"])

        heard = [await socket.next("topic") for _ in range(3)]

    assert {(message["topic"], message["id"]) for message in heard} == {
        ("queues", "other"),
        ("queues", "mail, bulk: 100 %"),
        ("queue:mail, bulk: 100 %", "mail, bulk: 100 %"),
    }


async def test_beat_says_whether_changes_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 0.05)
    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": ["runs"]})
        await socket.next("resync")
        while not (listening := await socket.next("beat"))["listening"]:
            pass  # sent before the hub had connected
        later = await socket.next("beat")

    assert set(listening) == {"beat", "listening"}
    assert later["beat"] > listening["beat"]


async def test_beat_comes_at_once_when_the_hub_loses_its_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beats, "BEAT_SECONDS", 3600.0)
    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": ["runs"]})
        await socket.next("resync")
        monkeypatch.setattr(hub(), "_database_url", "postgres:///none?host=/nonexistent")
        await sync_to_async(end_hubs)()

        while (await socket.next("beat"))["listening"]:
            pass


async def test_beats_end_with_the_last_socket() -> None:
    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": ["runs"]})
        await socket.next("beat")

    async with asyncio.timeout(DEADLINE_SECONDS):
        await beats.beats()._task


async def test_stranger_is_closed_with_a_code_that_the_page_can_read() -> None:
    async with opened(None) as (socket, is_accepted):
        assert is_accepted
        closed = await socket.receive()

    assert (closed["type"], closed["code"]) == ("websocket.close", sockets.NOT_SIGNED_IN)


async def test_another_origin_is_refused() -> None:
    async with opened(await superuser(), origin=b"https://evil.example") as (_, is_accepted):
        assert not is_accepted


async def test_user_without_a_role_is_refused_each_topic() -> None:
    user = await sync_to_async(make_user)("")

    async with opened(user) as (socket, _):
        for topic in EVERY_KIND:
            await socket.send({"subscribe": [topic]})

            assert await socket.next("refused") == {"refused": topic}


async def test_reader_may_follow_each_kind() -> None:
    async with opened(await sync_to_async(make_user)("viewer")) as (socket, _):
        await socket.send({"subscribe": EVERY_KIND})

        assert [(await socket.next("subscribed"))["subscribed"] for _ in EVERY_KIND] == EVERY_KIND


async def test_each_kind_asks_for_its_own_action(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALLOWED_ROLES, Action.QUEUES_READ, frozenset())
    async with opened(await sync_to_async(make_user)("viewer")) as (socket, _):
        await socket.send({"subscribe": ["queues", "queue:default", "runs"]})

        assert (await socket.next("refused"))["refused"] == "queues"
        assert (await socket.next("refused"))["refused"] == "queue:default"
        assert (await socket.next("subscribed"))["subscribed"] == "runs"


@pytest.mark.parametrize("topic", ["run:nonsense", "schedules", "", "run:", "runs2"])
async def test_unknown_topic_is_refused(topic: str) -> None:
    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": [topic]})

        assert await socket.next("refused") == {"refused": topic}


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"subscribe": "runs"}', '{"subscribe": [1, null]}'])
async def test_nonsense_is_ignored(text: str) -> None:
    async with opened(await superuser()) as (socket, _):
        await socket.send_text(text)
        await socket.send({"subscribe": ["runs"]})

        assert await socket.next("subscribed") == {"subscribed": "runs"}


async def test_too_many_topics_close_the_socket() -> None:
    topics = [f"run:{(await new_run()).public_id}" for _ in range(sockets.TOPICS_LIMIT + 1)]

    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": topics})
        closed = await socket.receive()

    assert closed["code"] == sockets.TOO_MANY_TOPICS


@pytest.mark.parametrize("frame", [{"text": ""}, {"bytes": b""}, {"bytes": b"x"}, {"text": "{"}, {"text": "[" * 9000}])
async def test_a_frame_that_asks_for_nothing_is_passed_over(frame: dict[str, Any]) -> None:
    async with opened(await superuser()) as (socket, _):
        await socket._peer.send_input({"type": "websocket.receive", **frame})
        await socket.send({"subscribe": ["nonsense"]})

        assert await socket.next("refused") == {"refused": "nonsense"}
