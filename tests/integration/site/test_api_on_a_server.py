"""What only a real server shows: bodies without or with a false length, the short way of API calls."""

import json
import socket
from collections.abc import Iterator

import pytest
from django.conf import settings

from apps.runs.models import Run
from tests.factories import bearer, make_task
from tests.live_server import LiveServer, running_server
from trigger_site.web.body_limit import BODY_MAX_BYTES

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/v1/tasks/process-order/runs"


@pytest.fixture
def server() -> Iterator[LiveServer]:
    with running_server(bearer("operator")) as live:
        yield live


def endless(total_bytes: int) -> Iterator[bytes]:
    yield b'{"payload": {"x": "'
    for _ in range(total_bytes // 65536 + 1):
        yield b"a" * 65536
    yield b'"}}'


def test_a_trigger_and_its_run(server: LiveServer) -> None:
    make_task()

    made = server.call("POST", ADDRESS, b'{"payload": {"order_id": "A1"}}')
    shown = server.call("GET", made.headers["location"])

    assert made.status == 201
    said_once = ("is_duplicate", "waiting_reason")
    first, later = ({k: v for k, v in a.json().items() if k not in said_once} for a in (made, shown))
    assert first == later
    assert made.headers["x-content-type-options"] == "nosniff"


def test_a_body_sent_in_chunks_is_read(server: LiveServer) -> None:
    make_task()

    answer = server.call("POST", ADDRESS, iter([b'{"payload"', b': {"order_id"', b': "A1"}}']), encode_chunked=True,
                         headers={"Transfer-Encoding": "chunked"})  # fmt: skip

    assert answer.status == 201
    assert answer.json()["payload"] == {"order_id": "A1"}


@pytest.mark.parametrize("size", [3_500_000, BODY_MAX_BYTES + 1_000_000])
def test_a_body_without_a_length_is_bounded(server: LiveServer, size: int) -> None:
    make_task()
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        head = f"POST {ADDRESS} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        connection.sendall(head.encode() + b"\r\n")
        try:
            for piece in endless(size):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.sendall(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before it was complete, as it should be
        head, _, body = connection.makefile("rb").read(4096).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 413")
    assert json.loads(body)["type"] == "/problems/body-too-large"
    assert Run.objects.count() == 0


def test_a_length_that_promises_more_than_comes_stores_nothing(server: LiveServer) -> None:
    make_task()
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        head = f"POST {ADDRESS} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        connection.sendall(head.encode() + b'\r\n{"payload": {}}')
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()

    assert b" 201 " not in answer.partition(b"\r\n")[0]
    assert Run.objects.count() == 0


def test_a_declared_length_over_the_limit_is_refused(server: LiveServer) -> None:
    make_task()

    answer = server.call("POST", ADDRESS, b"x" * 3_500_000)

    assert answer.status == 413


def test_pages_keep_their_middleware_and_calls_need_their_key(server: LiveServer) -> None:
    without = LiveServer(server.host, server.port)

    assert without.call("GET", "/api/v1/runs").status == 401
    described = without.call("GET", "/api/v1/docs")
    assert described.status == 302
    assert "content-security-policy" in described.headers
    assert server.call("GET", "/api/v1/openapi.json").json()["info"]["title"] == "trigger-site"


def test_djangos_own_limit_is_not_below_the_servers() -> None:
    assert settings.DATA_UPLOAD_MAX_MEMORY_SIZE >= BODY_MAX_BYTES
