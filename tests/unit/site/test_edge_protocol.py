"""The guarded protocol on real sockets: what is cut, what is not, and what is answered."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
import pytest
import uvicorn
from websockets.sync.client import connect as connect_socket

from trigger_site.edge.gate import peer_of
from trigger_site.edge.limits import Limits
from trigger_site.edge.server import guarded

READ_SECONDS = 1.0
HOLD_SECONDS = 2.5
DEADLINE_SECONDS = 30.0
LIMITS = Limits(connections=50, connections_per_peer=20, read_seconds=READ_SECONDS)
FROM = "127.0.0.2"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """`/hold` answers after a while, `/early` before the body, `/big` with 50 MB; the others with the body's length."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message.get("text") or ""})
        return
    length, more = 0, scope["path"] != "/early"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message.get("more_body", False)
    if scope["path"] == "/hold":
        await asyncio.sleep(HOLD_SECONDS)
    body = b"x" * 50_000_000 if scope["path"] == "/big" else str(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(limits: Limits = LIMITS) -> Iterator[int]:
    """The port of a server with `application`."""
    config = guarded(application, limits=limits, port=0, lifespan="off", timeout_keep_alive=60)
    server = uvicorn.Server(config)
    server.force_exit = True
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as served:
        yield served


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(port: int, peer: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS, source_address=(peer, 0))


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes; a reset ends it too."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        parts.append(b"")
    return b"".join(parts)


def ask(port: int, data: bytes) -> bytes:
    with opened(port) as connection:
        connection.sendall(data)
        return everything(connection)


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
    return int(found[1]) if found else 0


def get(path: str = "/", *lines: str, close: bool = True) -> bytes:
    ends = ("Connection: close",) if close else ()
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *ends, *lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("data", "code", "kind"),
    [
        (get("/" + "a" * 9000), 414, "address-too-long"),
        (get("/", *(f"X-{number}: 1" for number in range(120))), 431, "head-too-large"),
        (get("/", "X-Long: " + "a" * 40_000), 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\nX-Endless: " + b"a" * 200_000, 431, "head-too-large"),
        (b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 20_000, 431, "head-too-large"),
        (b"\r\n" * 40_000, 431, "head-too-large"),
        (b"GET /" + b"a" * 100_000, 414, "address-too-long"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "request-malformed"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX\x00Y: 1\r\n\r\n", 400, "request-malformed"),
        (b"GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request-malformed"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request-malformed"),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "request-malformed"),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "request-malformed"),
    ],
)
def test_what_is_too_large_or_no_http_is_refused_as_a_problem(port: int, data: bytes, code: int, kind: str) -> None:
    answer = ask(port, data)

    assert status(answer) == code
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == f"/problems/{kind}"


@pytest.mark.parametrize(
    "data",
    [
        get("/", *(f"X-{number}: 1" for number in range(90))),
        get("/", "X-Long: " + "a" * 30_000),
        get("/" + "a" * 8000),
        get("http://x/there"),
        b"GET / HTTP/1.0\r\n\r\n",
        b"\r\n\r\n" + get(),
    ],
)
def test_what_is_within_the_limits_is_answered(port: int, data: bytes) -> None:
    assert status(ask(port, data)) == 200


def test_pipelined_requests_are_answered_in_order(port: int) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"

    answer = ask(port, b"".join(post % (length, b"b" * length) for length in (1, 2, 3)) + get())

    assert re.findall(rb"\r\n\r\n(\d)", answer) == [b"1", b"2", b"3", b"0"]


def test_too_many_pipelined_requests_end_the_connection(port: int) -> None:
    assert ask(port, get("/hold", close=False) + get(close=False) * 100) == b""


def test_expect_continue_is_honoured(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    with opened(port) as connection:
        connection.sendall(head)
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"12345")
        assert status(everything(connection)) == 200


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 0),
        (b"\r\n", 0),
        (b"GET / HTTP/1.1\r\nHost:", 408),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc", 408),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 408),
    ],
)
def test_a_request_that_stops_half_way_is_closed(port: int, data: bytes, code: int) -> None:
    with opened(port) as connection:
        connection.sendall(data)

        assert status(everything(connection)) == code


def test_a_second_request_has_no_more_time_than_the_first(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(get(close=False))
        assert status(connection.recv(65536)) == 200
        connection.sendall(b"GET / HTTP/1.1\r\nHost:")

        assert b"HTTP/1.1 408 " in everything(connection)


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nContent-Length: 999\r\n\r\n"])
def test_a_request_that_drips_is_cut_all_the_same(port: int, start: bytes) -> None:
    with opened(port) as connection:
        connection.sendall(start)
        connection.settimeout(0.1)
        deadline, answer = time.monotonic() + DEADLINE_SECONDS, b""
        while not answer:
            assert time.monotonic() < deadline
            try:
                connection.sendall(b"x")
                answer = connection.recv(100)
            except TimeoutError:
                continue

    assert status(answer) == 408


def test_a_slow_honest_body_is_read_to_its_end() -> None:
    pieces, size, patient = 12, 4096, Limits(connections=50, connections_per_peer=20, read_seconds=3)
    head = f"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {pieces * size}\r\n\r\n"
    with serving(patient) as port, opened(port) as connection:
        connection.sendall(head.encode())
        for _ in range(pieces):  # twice as long as a stall may last
            connection.sendall(b"b" * size)
            time.sleep(patient.read_seconds / 6)

        assert everything(connection).endswith(str(pieces * size).encode())


def test_an_answer_may_take_longer_than_a_read(port: int) -> None:
    assert status(ask(port, get("/hold"))) == 200


def test_a_kept_connection_may_rest_longer_than_a_read(port: int) -> None:
    with opened(port) as connection:
        for _ in range(2):
            connection.sendall(get(close=False))
            assert status(connection.recv(65536)) == 200
            time.sleep(READ_SECONDS * 1.8)


def test_an_endless_body_is_dropped_after_an_early_answer(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

        until(lambda: not takes(connection, b"1000\r\n" + b"x" * 4096 + b"\r\n"))


def takes(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


def test_a_peer_that_does_not_read_its_answer_is_cut() -> None:
    """The answer earns time by its length; one that is nearly all taken by the peer's kernel does not last."""
    hasty = Limits(connections=50, connections_per_peer=20, read_seconds=1.0, slowest_bytes_per_second=100_000_000)
    with serving(hasty) as port, opened(port) as connection:
        connection.sendall(get("/big"))
        started = connection.recv(100)
        until(lambda: not is_served(port, connection))

        assert status(started) == 200
        assert len(everything(connection)) < 50_000_000


def is_served(port: int, connection: socket.socket) -> bool:
    """Whether the other end of this connection is still open; asked of the kernel, without reading."""
    ours = connection.getsockname()[1]
    return any(
        found.laddr[1:] == (port,) and found.raddr and found.raddr[1] == ours and found.status == "ESTABLISHED"
        for found in psutil.Process().net_connections("tcp")
    )


def test_a_peer_with_idle_connections_in_all_its_places_loses_the_oldest(port: int) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(opened(port, FROM)) for _ in range(LIMITS.connections_per_peer)]
        for connection in idle:
            connection.sendall(get(close=False))
            assert status(connection.recv(65536)) == 200
        newcomer = stack.enter_context(opened(port, FROM))
        newcomer.sendall(get())

        assert status(everything(newcomer)) == 200
        assert everything(idle[0]) == b""
        idle[1].sendall(get())
        assert status(everything(idle[1])) == 200


def test_a_peer_that_is_being_served_in_all_its_places_is_refused_and_others_are_not(port: int) -> None:
    with ExitStack() as stack:
        for _ in range(LIMITS.connections_per_peer):
            busy = stack.enter_context(connect_socket(f"ws://127.0.0.1:{port}/", source_address=(FROM, 0)))
        with opened(port, FROM) as refused:
            answer = everything(refused)

        assert status(answer) == 503
        assert b"retry-after" in answer.lower()
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["type"] == "/problems/server-full"
        assert status(ask(port, get())) == 200
        busy.send("still here")
        assert busy.recv(DEADLINE_SECONDS) == "still here"

    def has_place() -> bool:
        with opened(port, FROM) as connection:
            connection.sendall(get())
            return status(everything(connection)) == 200

    until(has_place)  # closed sockets have given theirs back


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nx"])
def test_all_places_taken_by_silent_peers_leave_room_for_a_request(start: bytes) -> None:
    few = Limits(connections=5, connections_per_peer=0, read_seconds=60)
    with serving(few) as port, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(opened(port, FROM)).sendall(start)

        assert status(ask(port, get())) == 200


@pytest.mark.parametrize(
    ("client", "peer"),
    [
        (("127.0.0.1", 5), "127.0.0.1"),
        (("2001:db8:1:2:3:4:5:6", 5), "2001:db8:1:2::/64"),
        (("::ffff:192.0.2.1", 5), "192.0.2.1"),
        (("fe80::1%eth0", 5), "fe80::/64"),
        (("", 0), ""),
        (None, ""),
    ],
)
def test_peers_are_told_apart_by_address_or_network(client: tuple[str, int] | None, peer: str) -> None:
    assert peer_of(client) == peer
