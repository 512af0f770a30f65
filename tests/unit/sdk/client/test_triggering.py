"""What a client sends to trigger runs, and when it may send it again."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from trigger_sdk import AsyncClient, Client
from trigger_sdk.client import ApiError, Unreachable
from trigger_sdk.client.http_api import HttpApi
from trigger_sdk.client.triggering import batch_body, is_repeatable, trigger_body

from tests.unit.sdk.client.peer import Peer

RUN = {"id": "run_1", "task": "t", "state": "pending", "attempt_count": 0}
KEY = {"idempotency_key": "k"}


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.close()


@pytest.fixture
def client(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setattr("trigger_sdk.client.http_api.RETRY_DELAYS_SECONDS", (0.01, 0.01))
    with Client(peer.url, "tr_key") as connected:
        yield connected


@pytest.mark.parametrize(
    ("option", "sent"),
    [
        ({"delay": timedelta(minutes=10)}, {"delay_seconds": 600.0}),
        ({"delay": 5}, {"delay_seconds": 5}),
        ({"ttl": timedelta(days=1)}, {"ttl_seconds": 86_400.0}),
        ({**KEY, "idempotency_key_ttl": 60}, {**KEY, "idempotency_key_ttl_seconds": 60}),
        ({"run_at": datetime(2026, 12, 1, 8, tzinfo=UTC)}, {"run_at": "2026-12-01T08:00:00+00:00"}),
        (
            {"run_at": datetime(2026, 12, 1, 8, tzinfo=timezone(timedelta(hours=1)))},
            {"run_at": "2026-12-01T07:00:00+00:00"},
        ),
        ({"run_at": "2026-12-01T08:00Z"}, {"run_at": "2026-12-01T08:00Z"}),
        ({"tags": {"b", "a"}}, {"tags": ["a", "b"]}),
        ({"tags": ("b", "a")}, {"tags": ("b", "a")}),
        ({"queue": None, "priority": 0}, {"priority": 0}),
    ],
)
def test_options_are_sent_in_the_servers_names_and_units(option: Any, sent: Any) -> None:
    assert trigger_body(None, option) == {"payload": {}, "options": sent}


@pytest.mark.parametrize(
    ("option", "error", "text"),
    [
        ({"prority": 1}, TypeError, "'prority' is not a trigger option; did you mean 'priority'?"),
        ({"delay_seconds": 1}, TypeError, "'delay_seconds' is not a trigger option; did you mean 'delay'?"),
        ({"zzz": 1}, TypeError, "'zzz' is not a trigger option"),
        ({"run_at": datetime(2026, 12, 1)}, ValueError, "run_at has no time zone"),  # noqa: DTZ001 - refused for it
    ],
)
def test_what_the_client_cannot_send_is_refused_before_it_is_sent(
    peer: Peer, client: Client, option: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as alone:
        client.trigger("t", {}, **option)
    with pytest.raises(error) as batch:
        client.trigger_batch([{"task": "t"}, {"task": "t", "options": option}])

    assert text in str(alone.value)
    assert str(batch.value).startswith("items[1]: ")
    assert peer.requests == []


@pytest.mark.parametrize("item", [{}, {"task": 5}, {"task": "t", "option": {}}])
def test_items_that_are_none_are_refused(item: Any) -> None:
    with pytest.raises(TypeError, match=r"items\[0\]"):
        batch_body([item])


def test_a_batch_is_one_request(peer: Peer, client: Client) -> None:
    peer.will_answer((201, {"items": [RUN, {**RUN, "id": "run_2", "is_duplicate": True}]}))

    runs = client.trigger_batch({"task": task, "payload": {"n": 1}, "options": {"delay": 5}} for task in ("t", "u"))

    method, path, _, body = peer.requests[0]
    assert (method, path) == ("POST", "/api/v1/batches")
    assert [item["options"] for item in json.loads(body)["items"]] == [{"delay_seconds": 5}] * 2
    assert [(run.id, run.is_duplicate) for run in runs] == [("run_1", False), ("run_2", True)]


def test_a_repeatable_trigger_is_sent_again_until_its_reply_arrives(peer: Peer, client: Client) -> None:
    peer.will_answer((503, {}), (503, {}), (200, RUN))

    assert client.trigger("t", **KEY).id == "run_1"

    bodies = {body for _, _, _, body in peer.requests}
    assert (len(peer.requests), len(bodies)) == (3, 1)


def test_a_trigger_without_a_key_is_sent_once(peer: Peer, client: Client) -> None:
    peer.will_answer((503, {}), (201, RUN))

    with pytest.raises(ApiError):
        client.trigger("t")

    assert len(peer.requests) == 1


def test_nobody_answers(peer: Peer, client: Client) -> None:
    peer.close()

    with pytest.raises(Unreachable):
        client.trigger("t", **KEY)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([{"task": "t", "options": KEY}, {"task": "t", "options": KEY}], True),
        ([{"task": "t", "options": KEY}, {"task": "t"}], False),
    ],
)
def test_a_batch_is_repeatable_where_every_item_has_a_key(items: Any, expected: bool) -> None:
    assert is_repeatable(batch_body(items)) is expected


@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None)])
def test_the_refusal_says_when_to_come_back(peer: Peer, header: str, expected: float | None) -> None:
    peer.headers["Retry-After"] = header
    peer.will_answer((429, {"type": "/problems/queue-full"}))
    api = HttpApi(peer.url, "tr_key")

    with pytest.raises(ApiError) as refusal:
        api.post("/batches", {})

    api.close()
    assert (refusal.value.type, refusal.value.retry_after) == ("/problems/queue-full", expected)


@pytest.mark.asyncio
async def test_the_asynchronous_client_does_the_same(peer: Peer) -> None:
    peer.will_answer((201, {**RUN, "is_duplicate": False}), (201, {"items": [RUN]}), (200, {**RUN, "priority": 32767}))
    async with AsyncClient(peer.url, "tr_key") as client:
        run = await client.trigger("t", {"n": 1}, delay=timedelta(seconds=5))
        (item,) = await client.trigger_batch([{"task": "t"}])
        bumped = await client.bump(run)

    assert (run.id, run.is_duplicate, item.id, bumped.data["priority"]) == ("run_1", False, "run_1", 32767)
    assert json.loads(peer.requests[0][3])["options"] == {"delay_seconds": 5.0}
    assert peer.requests[2][1] == "/api/v1/runs/run_1/bump"
