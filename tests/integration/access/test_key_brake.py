"""The brake of wrong API keys: per peer, without a query, and never in the way of a key that was right."""

import logging

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.access import key_brake as module
from apps.access.key_brake import BURST, GOOD_SECONDS, PER_SECOND, TOLD_SECONDS, KeyBrake, find_key_of_peer
from apps.access.keys import revoke_key
from apps.access.models import ApiKey, AuditEntry, Brake
from apps.access.permissions import Actor
from tests.factories import bearer, make_key

WRONG = {"Authorization": "Bearer tr_aaaaaaaaaaaa_b"}


def calls(count: int, peer: str = "192.0.2.1", headers: dict[str, str] = WRONG) -> list[int]:
    client = Client(REMOTE_ADDR=peer)
    return [client.get("/api/v1/runs", headers=headers).status_code for _ in range(count)]


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)


@pytest.mark.django_db
@pytest.mark.usefixtures("stopped_clock")
def test_guesses_beyond_the_burst_are_refused_without_a_query_and_told_when_to_come_back() -> None:
    assert calls(BURST) == [401] * BURST
    entries = AuditEntry.objects.count()

    with CaptureQueriesContext(connection) as queries:
        refused = Client(REMOTE_ADDR="192.0.2.1").get("/api/v1/runs", headers=WRONG)

    assert len(queries) == 0
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")
    assert refused.json()["type"] == "/problems/too-many-tries"
    assert "192.0.2.1" in refused.json()["detail"]
    assert calls(1, peer="192.0.2.2") == [401]
    assert (AuditEntry.objects.count(), Brake.objects.count()) == (entries, 0)


@pytest.mark.django_db
@pytest.mark.usefixtures("stopped_clock")
def test_a_key_that_was_right_passes_until_it_is_wrong() -> None:
    good, other = bearer("viewer"), bearer("viewer")
    assert calls(1, headers=good) == [200]
    calls(BURST)

    assert calls(3, headers=good) == [200] * 3
    assert calls(1, headers=other) == [429]
    assert calls(1, headers=other, peer="192.0.2.2") == [200]
    assert calls(1, headers=other) == [200]
    for key in ApiKey.objects.all():
        revoke_key(key, actor=Actor.of_console("test"))
    assert calls(2, headers=good) == [401, 429]


@pytest.mark.django_db
@pytest.mark.usefixtures("stopped_clock")
def test_the_description_of_the_api_has_the_same_brake() -> None:
    client = Client()
    statuses = [client.get("/api/v1/openapi.json", headers=WRONG).status_code for _ in range(BURST + 1)]

    assert statuses == [401] * BURST + [429]


def test_the_brake_lets_go_with_time_and_tells_the_log_now_and_then() -> None:
    brake = KeyBrake()
    news = [brake.note_wrong("p", b"x", 0.0) for _ in range(BURST + 2)]
    assert [index for index, is_news in enumerate(news) if is_news] == [BURST - 1]
    assert brake.wait_seconds("p", b"x", 0.0) == 1 / PER_SECOND

    assert brake.wait_seconds("p", b"x", 1 / PER_SECOND) == 0
    assert not brake.note_wrong("p", b"x", 1 / PER_SECOND)
    for _ in range(BURST):
        last = brake.note_wrong("p", b"x", TOLD_SECONDS)
    assert last
    brake.note_right(b"x", TOLD_SECONDS)
    assert brake.wait_seconds("p", b"x", TOLD_SECONDS + GOOD_SECONDS - 1) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PEERS_LIMIT", 100)
    brake = KeyBrake()

    for number in range(1000):
        for _ in range(BURST):
            brake.note_wrong(f"peer {number}", b"x", 0.0)
        brake.note_right(number.to_bytes(2, "big"), 0.0)

    assert [len(each) for each in (brake.levels, brake.good, brake.told)] == [100, 100, 100]
    assert brake.wait_seconds("peer 999", b"x", 0.0) > 0


@pytest.mark.django_db
def test_the_log_names_the_peer_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(BURST):
            with pytest.raises(Exception, match="unknown"):
                find_key_of_peer("tr_aaaaaaaaaaaa_secret", "192.0.2.3")

    assert [r.getMessage() for r in caplog.records if r.name == module.__name__] == ["keys.brake peer=192.0.2.3"]
    assert find_key_of_peer(make_key("viewer"), "192.0.2.4").role == "viewer"
