"""The client's connection to a server: how it finds one, and how it treats a peer that misbehaves.

The peer is a real HTTP server that answers as the test says; the true server's answers are tested with that server.
"""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trigger_sdk import AsyncClient, Client
from trigger_sdk.client import ApiError, NotConfigured, Unreachable
from trigger_sdk.client.http_api import find_server

from tests.unit.sdk.client.peer import Peer

RUN = {"id": "run_1", "task": "t", "state": "pending", "attempt_count": 0}


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.close()


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with Client(peer.url, "tr_key") as connected:
        yield connected


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIGGER_URL", raising=False)
    monkeypatch.delenv("TRIGGER_API_KEY", raising=False)


def test_trigger_sends_payload_options_and_key(peer: Peer, client: Client) -> None:
    peer.will_answer((201, RUN))

    run = client.trigger("a/b", {"n": 2**70}, priority=3)

    method, path, headers, body = peer.requests[0]
    assert (method, path, headers["Authorization"]) == ("POST", "/api/v1/tasks/a%2Fb/runs", "Bearer tr_key")
    assert json.loads(body) == {"payload": {"n": 2**70}, "options": {"priority": 3}}
    assert (run.id, run.state, run.is_final) == ("run_1", "pending", False)


def test_text_that_is_not_ascii_is_not_made_longer_by_escapes(peer: Peer, client: Client) -> None:
    peer.will_answer((201, RUN), (201, RUN))
    text = "héé日本🙂" * 100

    client.trigger("t", {"text": text})
    client.trigger("t", {"text": "\ud800é"})

    body, with_surrogate = (request[3] for request in peer.requests)
    assert json.loads(body)["payload"] == {"text": text}
    assert len(body) < len(text.encode()) + 100
    assert json.loads(with_surrogate)["payload"] == {"text": "\ud800é"}


def test_refusal_carries_the_problem(peer: Peer, client: Client) -> None:
    problem = {
        "type": "/problems/payload-invalid",
        "title": "The payload does not fit",
        "detail": "The payload does not fit the task.",
        "errors": [{"path": "payload.n", "message": "is no integer"}],
    }
    peer.will_answer((422, problem))

    with pytest.raises(ApiError) as caught:
        client.trigger("t")

    error = caught.value
    assert (error.status, error.type, error.title) == (422, "/problems/payload-invalid", "The payload does not fit")
    assert error.errors == problem["errors"]
    assert str(error) == "The payload does not fit the task.; payload.n: is no integer"


@pytest.mark.parametrize("content", [b"<html>bad gateway</html>", b"[1]", b""])
def test_error_without_a_problem_is_still_an_api_error(peer: Peer, client: Client, content: bytes) -> None:
    peer.will_answer((502, content))

    with pytest.raises(ApiError) as caught:
        client.trigger("t")

    assert (caught.value.status, str(caught.value)) == (502, "Bad Gateway")


def test_reads_are_tried_again_and_writes_are_not(peer: Peer, client: Client) -> None:
    peer.will_answer((503, {}), (200, RUN), (503, {}), (201, RUN))

    assert client.run("run_1").id == "run_1"
    with pytest.raises(ApiError) as caught:
        client.trigger("t")

    assert caught.value.status == 503
    assert [request[0] for request in peer.requests] == ["GET", "GET", "POST"]


def test_connection_is_kept_and_replaced_when_the_server_has_closed_it(peer: Peer, client: Client) -> None:
    peer.will_answer(*[(201, RUN)] * 4)
    client.trigger("t")
    client.trigger("t")
    assert len(peer.connections) == 1

    peer.closes_after_answer = True
    client.trigger("t")
    wait_until_closed(client)
    client.trigger("t")

    assert len(peer.requests) == 4
    assert len(peer.connections) == 2


def wait_until_closed(client: Client) -> None:
    """The end of the stream needs a moment to arrive."""
    connection: socket.socket = client.api._idle[0].sock
    connection.settimeout(10)
    assert connection.recv(1, socket.MSG_PEEK) == b""


def test_server_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{bound.getsockname()[1]}", "key")

        with pytest.raises(Unreachable, match="does not answer"):
            client.trigger("t")


def test_pages_are_read_as_far_as_asked(peer: Peer, client: Client) -> None:
    page = [{**RUN, "id": f"run_{n}"} for n in range(3)]
    peer.will_answer((200, {"items": page, "next_cursor": "c1"}), (200, {"items": page[:2], "next_cursor": "c2"}))

    found = [run.id for run in client.runs(task="t", limit=5)]

    assert found == ["run_0", "run_1", "run_2", "run_0", "run_1"]
    assert [request[1] for request in peer.requests] == [
        "/api/v1/runs?task=t&limit=5",
        "/api/v1/runs?task=t&cursor=c1&limit=2",
    ]


def test_log_is_read_to_its_end(peer: Peer, client: Client) -> None:
    peer.will_answer(
        (200, RUN),
        (200, {"items": [{"message": "a"}], "next_cursor": "1"}),
        (200, {"items": [{"message": "b"}], "next_cursor": "2"}),
        (200, {"items": [], "next_cursor": None}),
    )

    assert [line["message"] for line in client.run("run_1").logs()] == ["a", "b"]
    assert peer.requests[-1][1].endswith("logs?after=2&limit=1000")


def test_wait_ends_with_the_run_or_the_timeout(peer: Peer, client: Client) -> None:
    peer.will_answer((200, RUN), (200, RUN), (200, {**RUN, "state": "completed", "output": 1}), (200, RUN))

    done = client.run("run_1").wait()
    with pytest.raises(TimeoutError, match="run_1 is not final"):
        client.run("run_1").wait(timeout=0)

    assert (done.state, done.output) == ("completed", 1)


def test_async_client_does_the_same(peer: Peer) -> None:
    done = {**RUN, "state": "completed"}
    logs = [(200, {"items": [{"message": "a"}], "next_cursor": "1"}), (200, {"items": [], "next_cursor": None})]
    peer.will_answer((201, RUN), (200, done), *logs, (200, {"items": [RUN], "next_cursor": None}))

    async def scenario() -> tuple[str, list[str], list[str]]:
        async with AsyncClient(peer.url, "key") as client:
            run = await (await client.trigger("t", {"a": 1})).wait(timeout=5)
            lines = [line["message"] async for line in run.logs()]
            found = [run.id async for run in client.runs(limit=1)]
            return run.state, lines, found

    assert asyncio.run(scenario()) == ("completed", ["a"], ["run_1"])


def test_server_is_found_by_argument_environment_then_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "dev.json").write_text('{"url": "http://dev:1", "api_key": "dev-key"}')
    monkeypatch.chdir(below)

    found: list[tuple[str, str]] = [find_server(None, None)]
    monkeypatch.setenv("TRIGGER_URL", "http://env:2")
    monkeypatch.setenv("TRIGGER_API_KEY", "env-key")
    found += [find_server(None, None), find_server("http://arg:3", "arg-key")]

    assert found == [("http://dev:1", "dev-key"), ("http://env:2", "env-key"), ("http://arg:3", "arg-key")]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Client(), "set TRIGGER_URL"),
        (lambda: Client("http://x"), "no API key for http://x"),
        (lambda: Client("ftp://x", "key"), "not an address"),
        (lambda: Client("nonsense", "key"), "not an address"),
    ],
)
def test_missing_server_says_what_to_set(
    make: Callable[[], Client], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(NotConfigured, match=message):
        make()


def test_a_replay_sends_only_what_is_given(peer: Peer, client: Client) -> None:
    peer.will_answer((201, RUN), (201, RUN), (200, {"refusals": []}))
    edits: dict[str, Any] = {
        "payload": {"n": 2**70},
        "checkpoint_data": {"k": {"n": 2**70}},
        "deployment": "latest",
        "new_idempotency_keys": True,
    }

    made = client.replay("run_1")
    client.replay(made, from_checkpoint="k", **edits)
    assert client.preview_replay("run/1", "k", **edits) == {"refusals": []}

    assert [path for _, path, _, _ in peer.requests] == [
        "/api/v1/runs/run_1/replays",
        "/api/v1/runs/run_1/replays",
        "/api/v1/runs/run%2F1/replays/preview",
    ]
    bodies = [json.loads(body) for _, _, _, body in peer.requests]
    assert bodies[0] == {"from_checkpoint": None, "deployment": "original"}
    assert bodies[1] == bodies[2] == {"from_checkpoint": "k", **edits}


def test_a_requeue_names_the_deployment(peer: Peer, client: Client) -> None:
    peer.will_answer((200, RUN), (200, RUN), (409, {"detail": "A pending run cannot be requeued."}))

    assert client.requeue("run_1").id == "run_1"
    client.requeue("run_1", deployment="latest")
    with pytest.raises(ApiError) as caught:
        client.requeue("run_1")

    assert caught.value.status == 409
    assert [json.loads(body) for _, _, _, body in peer.requests[:2]] == [
        {"deployment": "original"},
        {"deployment": "latest"},
    ]


def test_the_async_client_replays_and_requeues_alike(peer: Peer) -> None:
    peer.will_answer((201, RUN), (200, {"warnings": []}), (200, RUN))

    async def use() -> None:
        async with AsyncClient(peer.url, "tr_key") as client:
            made = await client.replay("run_1", "k", payload={"a": 1})
            assert (await client.preview_replay(made, checkpoint_data={"k": 1})) == {"warnings": []}
            assert (await client.requeue(made, deployment="latest")).state == "pending"

    asyncio.run(use())

    bodies = [json.loads(body) for _, _, _, body in peer.requests]
    assert bodies == [
        {"from_checkpoint": "k", "deployment": "original", "payload": {"a": 1}},
        {"from_checkpoint": None, "deployment": "original", "checkpoint_data": {"k": 1}},
        {"deployment": "latest"},
    ]
