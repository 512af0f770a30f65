"""Measures what honest callers notice of hostile ones and of a frozen database: waits, memory, requests per second."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit
from uuid import uuid4

from apps import protocol as wire
from benchmarks.measures import Row, surroundings
from benchmarks.site import Site, percentile, postgres_processes

CALLS = 400
SLOW_CLIENTS = 1000
BOMBS = 6
BOMB_BYTES = 60_000_000
THROUGHPUT_CONNECTIONS = 8
THROUGHPUT_SECONDS = 5.0
FREEZES = 3

Call = Callable[[], int]


def edge(site: Site) -> list[Row]:
    """Measures undisturbed, then with slow clients, then with header bombs, then with a silent database."""
    rows: list[Row] = []
    for name, path in (("web", "/api/v1/runs"), ("coordinator", "/coordinator/v1/heartbeats")):
        port = urlsplit(site.info["url" if name == "web" else "coordinator_url"]).port or 0
        with caller(site, port, path) as call:
            around = f"{CALLS} calls of {path} one after the other, one connection; {surroundings(site)}"
            rows.append(Row(f"{name}: undisturbed, p99", _p99_ms(call), "ms", "", around))
            with slow_clients(port):
                rows.append(Row(f"… beside {SLOW_CLIENTS:,} slow clients, p99", _p99_ms(call), "ms", "≤ 1,000", ""))
            with bombs(port):
                rows.append(Row(f"… beside {BOMBS} headers of 60 MB, p99", _p99_ms(call), "ms", "≤ 1,000", ""))
        size = site.processes()[name][0].memory_info().rss / 1e6
        rows.append(Row(f"… {name}, resident after that", size, "MB", "≤ 300", ""))
        rows.append(
            Row(f"… /health on {THROUGHPUT_CONNECTIONS} kept connections", _per_second(port), "requests/s", "", "")
        )
    return rows + _frozen(site)


@contextmanager
def caller(site: Site, port: int, path: str) -> Iterator[Call]:
    """Yields a function that makes one honest call on a kept connection and returns its status."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    is_message = path.startswith("/coordinator/")
    key = site.info["worker_token" if is_message else "api_key"]
    method, body = ("POST", wire.encode(wire.Heartbeat(uuid4(), []))) if is_message else ("GET", None)

    def call() -> int:
        client.request(method, path, body, {"Authorization": f"Bearer {key}"})
        response = client.getresponse()
        response.read()
        return response.status

    try:
        yield call
    finally:
        client.close()


@contextmanager
def slow_clients(port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.slow_clients", str(port), str(SLOW_CLIENTS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


@contextmanager
def bombs(port: int) -> Iterator[None]:
    """Sends one endless header after another, on several connections at once."""
    is_over = threading.Event()

    def throw() -> None:
        while not is_over.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 10) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Bomb: ")
                for _ in range(BOMB_BYTES // 1_000_000):
                    client.sendall(b"b" * 1_000_000)

    threads = [threading.Thread(target=throw) for _ in range(BOMBS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def _frozen(site: Site) -> list[Row]:
    """Measures the longest wait for the 503 of calls sent before anyone knew, and for the first 200 afterwards."""
    ports = [urlsplit(site.info[name]).port or 0 for name in ("url", "coordinator_url")]
    answers, returns = [], []
    for _ in range(FREEZES):
        members = postgres_processes(site.info["database_url"])
        for member in members:
            member.suspend()
        for port, path in zip(ports, ("/api/v1/runs", "/coordinator/v1/heartbeats"), strict=True):
            answers.append(_seconds_until(site, port, path, 503))
        for member in reversed(members):
            member.resume()
        for port, path in zip(ports, ("/api/v1/runs", "/ready"), strict=True):
            returns.append(_seconds_until(site, port, path, 200))
    around = f"all its processes stopped (SIGSTOP), {FREEZES} times; {surroundings(site)}"
    return [
        Row("frozen database: longest wait for the 503", max(answers), "s", "≤ 5", around),
        Row("… it continues → served again, longest", max(returns), "s", "≤ 5", ""),
    ]


def _seconds_until(site: Site, port: int, path: str, status: int) -> float:
    began_at = time.monotonic()
    while True:
        with caller(site, port, path) as call:
            if call() == status:
                return time.monotonic() - began_at


def _p99_ms(call: Call) -> float:
    measured = []
    for _ in range(CALLS):
        began_at = time.monotonic()
        status = call()
        measured.append((time.monotonic() - began_at) * 1000)
        if status not in (200, 404):  # the coordinator does not know this worker
            raise RuntimeError(f"an honest call was answered {status}")
    return percentile(measured, 0.99)


def _per_second(port: int) -> float:
    counts = [0] * THROUGHPUT_CONNECTIONS
    ends_at = time.monotonic() + THROUGHPUT_SECONDS
    request = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            while time.monotonic() < ends_at:
                client.sendall(request)
                while not client.recv(4096).endswith(b"}"):
                    continue
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(THROUGHPUT_CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / THROUGHPUT_SECONDS
