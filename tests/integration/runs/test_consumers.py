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
from django.test import Client

from apps.runs import consumers
from apps.runs.broadcast import announce_now
from apps.runs.hub import hub
from apps.runs.models import Run
from tests.factories import make_run, make_user
from trigger_site.asgi import application

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

DEADLINE_SECONDS = 60.0
OWN_ORIGIN = b"http://localhost"


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
        announce_now([str(other.id)])
        announce_now([str(run.id)])

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
        announce_now([str(run.id)])
        announce_now([str(other.id)])

        assert (await socket.next("topic"))["id"] == other.public_id


async def test_stranger_is_closed_with_a_code_that_the_page_can_read() -> None:
    async with opened(None) as (socket, is_accepted):
        assert is_accepted
        closed = await socket.receive()

    assert (closed["type"], closed["code"]) == ("websocket.close", consumers.NOT_SIGNED_IN)


async def test_another_origin_is_refused() -> None:
    async with opened(await superuser(), origin=b"https://evil.example") as (_, is_accepted):
        assert not is_accepted


async def test_user_without_a_role_is_refused_each_topic() -> None:
    user = await sync_to_async(make_user)("")

    async with opened(user) as (socket, _):
        await socket.send({"subscribe": ["runs"]})

        assert await socket.next("refused") == {"refused": "runs"}


@pytest.mark.parametrize("topic", ["run:nonsense", "queue:x", "", "run:", "runs2"])
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
    topics = [f"run:{(await new_run()).public_id}" for _ in range(consumers.TOPICS_LIMIT + 1)]

    async with opened(await superuser()) as (socket, _):
        await socket.send({"subscribe": topics})
        closed = await socket.receive()

    assert closed["code"] == consumers.TOO_MANY_TOPICS


@pytest.mark.parametrize("frame", [{"text": ""}, {"bytes": b""}, {"bytes": b"x"}, {"text": "{"}, {"text": "[" * 9000}])
async def test_a_frame_that_asks_for_nothing_is_passed_over(frame: dict[str, Any]) -> None:
    async with opened(await superuser()) as (socket, _):
        await socket._peer.send_input({"type": "websocket.receive", **frame})
        await socket.send({"subscribe": ["nonsense"]})

        assert await socket.next("refused") == {"refused": "nonsense"}
