"""Sockets on real servers: each ends with its session, whatever ended that, and opens for pages of this site alone."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection
from django.test import Client
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from apps.live import socket_watch
from apps.live.notify import announce_now
from apps.live.socket_watch import NOT_ALLOWED, NOT_SIGNED_IN
from apps.live.topics import RUNS
from tests.factories import make_run, make_user
from tests.live_server import LiveServer, running_server

pytestmark = pytest.mark.django_db(transaction=True)

DEADLINE_SECONDS = 60.0


@pytest.fixture
def own_database_for_notices(settings: Settings, database_server: str) -> None:
    """Notices reach those who listen on the same database alone: here the tests' own."""
    name = connection.settings_dict["NAME"]
    settings.LISTEN_DATABASE_URL = urlunsplit(urlsplit(database_server)._replace(path=f"/{name}"))


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with running_server() as live:
        yield live


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def cookie(client: Client) -> str:
    return f"sessionid={client.cookies['sessionid'].value}"


def handshake(server: LiveServer, client: Client | None, *origins: str) -> ClientConnection:
    headers = [("Origin", origin) for origin in origins]
    if client is not None:
        headers.append(("Cookie", cookie(client)))
    url = f"ws://{server.host}:{server.port}/ws/dashboard"
    return connect(url, additional_headers=headers, open_timeout=DEADLINE_SECONDS)


@contextmanager
def live_page(server: LiveServer, client: Client, until: str = "resync") -> Iterator[ClientConnection]:
    """A socket that follows the runs. The first one of a server hears `resync` when the server's hub listens."""
    with handshake(server, client, server.url) as page:
        page.send('{"subscribe": ["runs"]}')
        while f'"{until}"' not in str(page.recv(DEADLINE_SECONDS)):
            pass  # what comes before it
        yield page


def code_at_end(page: ClientConnection) -> int:
    """What the server closes the socket with; whatever it says before that is passed over."""
    try:
        while page.recv(DEADLINE_SECONDS):
            pass
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd is not None else 0
    return 0


def expire(user: User) -> None:
    Session.objects.update(expire_date=datetime(2020, 1, 1, tzinfo=UTC))


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def delete(user: User) -> None:
    User.objects.filter(pk=user.pk).delete()


def change_password(user: User) -> None:
    user.set_password("another horse")
    user.save()


def take_role(user: User) -> None:
    user.groups.clear()


def forget_sessions(user: User) -> None:
    Session.objects.all().delete()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (expire, NOT_SIGNED_IN),
        (deactivate, NOT_SIGNED_IN),
        (delete, NOT_SIGNED_IN),
        (change_password, NOT_SIGNED_IN),
        (forget_sessions, NOT_SIGNED_IN),
        (take_role, NOT_ALLOWED),
    ],
)
def test_an_open_socket_ends_with_what_entitled_it(
    server: LiveServer, change: Callable[[User], None], code: int
) -> None:
    user = make_user("viewer")
    with live_page(server, signed_in(user)) as page, live_page(server, signed_in(user), "subscribed") as second:
        change(user)

        assert code_at_end(page) == code
        assert code_at_end(second) == code


def test_the_sockets_of_others_stay(server: LiveServer) -> None:
    leaving = signed_in(make_user("viewer"))
    with (
        live_page(server, signed_in(make_user("viewer"))) as staying,
        live_page(server, leaving, "subscribed") as page,
    ):
        leaving.post("/sign-out")
        assert code_at_end(page) == NOT_SIGNED_IN

        run = make_run()
        announce_now(RUNS, [run.id])

        while run.public_id not in str(staying.recv(DEADLINE_SECONDS)):
            pass  # what earlier tests have announced


@pytest.mark.usefixtures("own_database_for_notices")
@pytest.mark.parametrize("path", ["/sign-out", "/admin/password_change/"])
def test_all_servers_hear_of_a_sign_out_at_once(server: LiveServer, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setattr(socket_watch, "RECHECK_SECONDS", 3600.0)  # nothing but the announcement may end it
    user = make_user("viewer", password="correct horse")
    client = signed_in(user)
    elsewhere = client if path == "/sign-out" else signed_in(user)
    form = {"old_password": "correct horse", "new_password1": "another horse", "new_password2": "another horse"}
    with running_server() as other, live_page(server, client) as page, live_page(other, client) as far:
        assert elsewhere.post(path, form).status_code == 302

        assert code_at_end(page) == NOT_SIGNED_IN
        assert code_at_end(far) == NOT_SIGNED_IN


def test_a_subscription_asks_again(server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_watch, "RECHECK_SECONDS", 3600.0)
    run = make_run()
    with live_page(server, signed_in(make_user("viewer"))) as page:
        forget_sessions(User.objects.get())

        page.send(f'{{"subscribe": ["run:{run.public_id}"]}}')

        assert code_at_end(page) == NOT_SIGNED_IN


def test_sockets_outlive_a_database_that_is_away_for_a_while(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_watch, "RECHECK_SECONDS", 0.5)
    asked = [0]
    real = socket_watch.standing_sessions

    def fail_twice(keys: Any) -> Any:
        asked[0] += 1
        if asked[0] <= 2:
            raise DatabaseError("server closed the connection")
        return real(keys)

    with live_page(server, signed_in(make_user("viewer"))) as page:
        monkeypatch.setattr(socket_watch, "standing_sessions", fail_twice)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while asked[0] < 3:
            assert time.monotonic() < deadline
            with suppress(TimeoutError):
                page.recv(0.1)  # still open: a closed one raises another error

        forget_sessions(User.objects.get())
        assert code_at_end(page) == NOT_SIGNED_IN


@pytest.mark.parametrize(
    "origins",
    [
        [],
        ["null"],
        ["https://{host}:{port}"],
        ["http://{host}"],
        ["http://{host}:1"],
        ["http://localhost:{port}"],
        ["http://{host}:{port}.evil.example"],
        ["http://{host}:{port}@evil.example"],
        ["http://evil.example:{port}"],
        ["https://evil.example"],
        ["{host}:{port}"],
        ["ws://{host}:{port}"],
        ["//{host}:{port}"],
        ["http://[evil"],
        ["http://{host}:{port}", "http://evil.example"],
        ["http://evil.example", "http://{host}:{port}"],
    ],
)
def test_pages_of_other_origins_get_no_socket(server: LiveServer, origins: list[str]) -> None:
    client = signed_in(make_user("admin"))
    given = [origin.format(host=server.host, port=server.port) for origin in origins]

    with pytest.raises(InvalidStatus) as refusal:
        handshake(server, client, *given)

    assert refusal.value.response.status_code == (400 if len(origins) > 1 else 403)
    with handshake(server, client, server.url):
        pass


def test_a_host_that_is_not_ours_gets_no_socket_for_its_own_pages(server: LiveServer) -> None:
    headers = [("Host", "evil.example"), ("Origin", "http://evil.example"), ("Connection", "Upgrade")]
    answer = server.call(
        "GET",
        "/ws/dashboard",
        headers={
            **dict(headers),
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    )

    assert answer.status == 403
