"""Hostile and odd peers against web and coordinator as real processes: all is answered or closed, others are served."""

import gzip
import http.client
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.installation import DEADLINE_SECONDS, Installation, until
from tests.databases import database

MEMORY_MAX_BYTES = 300 * 1024 * 1024
SLOW_CLIENTS = 1000
ATTACKER = "127.0.0.2"
"""Another address of this machine, counted apart from the honest callers'."""

BOTH = pytest.mark.parametrize("name", ["web", "coordinator"])
TRIGGER = "/api/v1/tasks/nothing/runs"


class Servers(Installation):
    """Web and coordinator, with places for all slow clients and a short time to be slow in."""

    def __init__(self, database_url: str, folder: Path) -> None:
        super().__init__(database_url, folder)
        self._environment |= {"TRIGGER_READ_SECONDS": "3", "TRIGGER_CONNECTIONS_PER_PEER": str(SLOW_CLIENTS + 100)}
        self.worker_token = self._environment["TRIGGER_WORKER_TOKEN"]
        self.ports = {"web": self.web_port, "coordinator": self.coordinator_port}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start_both(self) -> None:
        self.start_servers()
        self.running = {"coordinator": self.processes[0], "web": self.processes[1]}

    def open(self, name: str, peer: str = ATTACKER) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[name]), DEADLINE_SECONDS, (peer, 0))

    def status(self, name: str, method: str = "GET", path: str = "", body: object = None, **headers: str) -> int:
        """Of an honest request; by default one that any caller may make."""
        address = path or ("/sign-in" if name == "web" else "/health")
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports[name], timeout=DEADLINE_SECONDS)) as client:
            client.request(method, address, body, headers)  # type: ignore[arg-type]
            return client.getresponse().status

    def connection_count(self, name: str) -> int:
        """Of connections that this server has accepted and not closed."""
        found = psutil.Process(self.running[name].pid).net_connections("tcp")
        return sum(bool(each.raddr) and each.laddr[1] == self.ports[name] for each in found)

    def memory_bytes(self, name: str) -> int:
        return int(psutil.Process(self.running[name].pid).memory_info().rss)

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def servers(database_server: str) -> Iterator[Servers]:
    with database() as url, tempfile.TemporaryDirectory(prefix="te-") as folder:
        started = Servers(url, Path(folder))
        try:
            started.start_both()
            yield started
        finally:
            started.stop()


@pytest.fixture(autouse=True)
def nothing_broke(servers: Servers) -> Iterator[None]:
    """After each test both servers live, are small and logged no exception."""
    yield
    for name, process in servers.running.items():
        assert process.poll() is None
        assert servers.memory_bytes(name) < MEMORY_MAX_BYTES
    assert "Traceback" not in servers.log(), servers.log()[-5000:]


def first_line(connection: socket.socket) -> bytes:
    with suppress(ConnectionResetError):
        return connection.recv(65536).partition(b"\r\n")[0]
    return b""


@BOTH
def test_a_header_of_60_mb_is_refused_and_nobody_waits_for_it(servers: Servers, name: str) -> None:
    with ExitStack() as stack:
        bombs = [stack.enter_context(servers.open(name)) for _ in range(6)]
        for bomb in bombs:
            bomb.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Bomb: ")
        for _ in range(60):
            for bomb in bombs:
                with suppress(ConnectionError):  # refused, as it should be
                    bomb.sendall(b"b" * 1_000_000)
            assert servers.status(name) == 200

        assert all(first_line(bomb) in (b"", b"HTTP/1.1 431 Request Header Fields Too Large") for bomb in bombs)


@BOTH
@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n" % TRIGGER.encode(),
        b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" % TRIGGER.encode(),
    ],
    ids=["silent", "head", "body", "chunks"],
)
def test_a_thousand_slow_clients_lock_nobody_out_and_are_closed(servers: Servers, name: str, start: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(servers.open(name)) for _ in range(SLOW_CLIENTS)]
        for number, connection in enumerate(slow):
            connection.sendall(start)
            if number % 100 == 0:
                assert servers.status(name) == 200

        until(lambda: drip(slow) or servers.status(name) != 200 or not servers.connection_count(name), "all closed")

        assert servers.connection_count(name) == 0
        assert servers.status(name) == 200


def drip(connections: list[socket.socket]) -> None:
    """One byte more on each connection that still takes it."""
    for connection in connections:
        with suppress(OSError):
            connection.send(b"1", socket.MSG_DONTWAIT)


def test_many_large_bodies_that_stall_do_not_fill_the_memory(servers: Servers) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8000000\r\n\r\n" % TRIGGER.encode()
    with ExitStack() as stack:
        for _ in range(60):
            takes(stack.enter_context(servers.open("web")), head + b"x" * 4_000_000)
            assert servers.memory_bytes("web") < MEMORY_MAX_BYTES
        assert servers.status("web", "POST", TRIGGER, b"{}") == 401

    until(lambda: servers.status("web", "POST", TRIGGER, b"x" * 4_000_000) == 401, "large bodies are taken again")


@BOTH
def test_a_body_in_chunks_without_end_is_cut(servers: Servers, name: str) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    start = b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n" % TRIGGER.encode()
    with servers.open(name) as connection:
        connection.sendall(start)

        until(lambda: not takes(connection, chunk), "the connection is closed")


def takes(connection: socket.socket, data: bytes) -> bool:
    try:
        connection.sendall(data)
    except ConnectionError:
        return False
    return True


@BOTH
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_packed_body_is_never_unpacked(servers: Servers, name: str, encoding: str) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 1)
    headers = {
        "Content-Encoding": encoding,
        "Content-Type": "application/json",
        "Authorization": authorization(servers, name),
    }

    status = servers.status(name, "POST", path_to_post(name), bomb, **headers)

    assert 400 <= status < 500


@BOTH
def test_a_deep_body_is_refused(servers: Servers, name: str) -> None:
    deep = b'{"payload": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"
    headers = {"Content-Type": "application/json", "Authorization": authorization(servers, name)}

    assert 400 <= servers.status(name, "POST", path_to_post(name), deep, **headers) < 500


def path_to_post(name: str) -> str:
    return TRIGGER if name == "web" else "/coordinator/v1/checkpoints"


def authorization(servers: Servers, name: str) -> str:
    return servers.client.api._headers["Authorization"] if name == "web" else f"Bearer {servers.worker_token}"


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"GET http://127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5,
        b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Odd: \xff\xfe\x80\r\nCookie: \xff\r\n\r\n",
        b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer \xff\r\n\r\n",
        b"GET /%ff%00 HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /coordinator/v1/runs/x/checkpoints?after=\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ],
)
def test_odd_requests_are_no_fault_of_ours(servers: Servers, name: str, data: bytes) -> None:
    with servers.open(name) as connection:
        connection.sendall(data)
        line = first_line(connection)

    assert line.startswith(b"HTTP/1.1 ")
    assert int(line[9:12]) < 500


@BOTH
@pytest.mark.parametrize("path", ["/", "/ws/nowhere", "/api/v1/runs", "/health", "/coordinator/v1/polls"])
def test_a_socket_where_none_is_gets_no_socket(servers: Servers, name: str, path: str) -> None:
    with servers.open(name) as connection:
        connection.sendall(handshake(path))
        line = first_line(connection)

    assert line.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))


def handshake(path: str, *more: str) -> bytes:
    lines = ["Host: 127.0.0.1", "Origin: http://127.0.0.1", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", *more]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode()


def test_a_thousand_sockets_are_served_in_little_memory(servers: Servers) -> None:
    session = servers.manage(
        "shell", "--no-imports", "-c",
        "from django.contrib.auth.models import User; from django.test import Client; client = Client(); "
        "client.force_login(User.objects.create_superuser('socket')); print('KEY', client.cookies['sessionid'].value)",
    ).split("KEY ")[1].split()[0]  # fmt: skip
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            connection = stack.enter_context(servers.open("web"))
            connection.sendall(handshake("/ws/dashboard", f"Cookie: sessionid={session}"))
            assert first_line(connection) == b"HTTP/1.1 101 Switching Protocols"

        assert servers.memory_bytes("web") < MEMORY_MAX_BYTES
        assert servers.status("web") == 200


@BOTH
def test_probes_need_no_host_and_know_no_other_method(servers: Servers, name: str) -> None:
    assert servers.status(name, path="/health", Host="10.1.2.3") == 200
    assert servers.status(name, path="/ready", Host="10.1.2.3") == 200
    assert servers.status(name, "POST", "/ready") == 405
