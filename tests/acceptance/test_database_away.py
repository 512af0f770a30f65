"""A database that freezes, stops or takes no writes, under web and coordinator as real processes."""

import http.client
import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from apps import protocol as wire
from tests.acceptance.installation import DEADLINE_SECONDS, ROOT, Installation, until
from tests.databases import new_cluster
from trigger_site.development.postgres import EmbeddedPostgres

TOGETHER = 30
"""More callers at once than the pool has connections."""

PAGE = {"Accept": "text/html"}
HANDSHAKE = {
    "Origin": "http://127.0.0.1", "Connection": "Upgrade", "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
}  # fmt: skip
LINE = wire.LogItem("info", "stdout", "x", "2026-01-01T00:00:00Z", 1)
MESSAGES: dict[str, wire.Message] = {
    "workers": wire.Registration(uuid4(), "w", "process", 1, wire.PROTOCOL_VERSION),
    "polls": wire.Poll(uuid4(), uuid4(), 1),
    "heartbeats": wire.Heartbeat(uuid4(), [wire.Lease(uuid4(), b"t")]),
    "starts": wire.Batch([wire.Start(uuid4(), b"t", "box", "cold", 0.0)]),
    "checkpoints": wire.Batch([wire.CheckpointItem(uuid4(), b"t", "k", b"{}")]),
    "logs": wire.Batch(
        [wire.LogBatch(uuid4(), b"t", 1, [wire.LogItem("info", "stdout", "x", "2026-01-01T00:00:00Z", 1)])]
    ),
    "finishes": wire.Batch([wire.Finish(uuid4(), b"t", "completed")]),
}


class Site(Installation):
    """Web and coordinator on a cluster of their own."""

    def __init__(self, postgres: EmbeddedPostgres, folder: Path) -> None:
        super().__init__(postgres.url, folder)
        self.postgres = postgres

    def web(self, path: str, method: str = "GET", **headers: str) -> int:
        return self._status(self.web_port, method, path, None, headers)

    def api(self, path: str) -> int:
        return self.web(path, **self.client.api._headers)

    def coordinator(self, path: str) -> int:
        body = wire.encode(MESSAGES[path]) if path in MESSAGES else None
        headers = {
            "Authorization": f"Bearer {self._environment['TRIGGER_WORKER_TOKEN']}",
            "X-Attempt-Token": "00",
        }
        method = "GET" if body is None else "POST"
        return self._status(self.coordinator_port, method, f"/coordinator/v1/{path}", body, headers)

    def ready(self) -> list[int]:
        return [self._status(port, "GET", "/ready", None, {}) for port in (self.web_port, self.coordinator_port)]

    def _status(self, port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)) as client:
            client.request(method, path, body, headers)
            return client.getresponse().status

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The whole cluster is stopped within: it keeps its connections and says nothing."""
        assert self.postgres.process is not None
        server = psutil.Process(self.postgres.process.pid)
        server.suspend()  # first, so that it starts nobody meanwhile
        members = server.children()
        for member in members:
            member.suspend()
        try:
            yield
        finally:
            for member in [*members, server]:
                member.resume()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="ta-") as folder:
        Path(folder).chmod(0o711)
        postgres = new_cluster(Path(folder))
        started = Site(postgres, Path(folder))
        try:
            started.start_servers()
            until(lambda: started.ready() == [200, 200], "ready")
            yield started
        finally:
            started.stop()
            postgres.stop()


def every_path(patterns: list[URLPattern | URLResolver] | None = None, start: str = "/") -> Iterator[str]:
    """An address of each route of the web process, with something in place of each name."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        path = start + re.sub(r"<uuid:\w+>", str(uuid4()), str(pattern.pattern))
        path = re.sub(r"<(\w+:)?\w+>", "1", path)
        if isinstance(pattern, URLResolver):
            yield from every_path(pattern.url_patterns, path)
        elif not re.search(r"[\^$?*(]", path):
            yield path


def is_served(site: Site) -> bool:
    """Whether all callers at once are served, more than a pool that kept broken or stuck connections could."""
    with ThreadPoolExecutor(TOGETHER) as callers:
        api = list(callers.map(lambda _: site.api("/api/v1/runs"), range(TOGETHER)))
        starts = list(callers.map(lambda _: site.coordinator("starts"), range(TOGETHER)))
    return {*api, *starts, site.web("/sign-in", **PAGE)} == {200}


def test_every_route_says_503_while_the_database_is_frozen_and_serves_when_it_is_back(site: Site) -> None:
    paths = sorted({*every_path(), "/nowhere", "/api/v1/nowhere"})
    until(lambda: is_served(site), "served")

    with site.frozen(), ThreadPoolExecutor(TOGETHER) as callers:
        # Sent before anyone can know: these wait for the database already.
        reads = [callers.submit(site.api, "/api/v1/runs") for _ in range(TOGETHER // 2)]
        messages = {path: callers.submit(site.coordinator, path) for path in MESSAGES}
        assert {read.result() for read in reads} == {503}
        assert {path: message.result() for path, message in messages.items()} == dict.fromkeys(MESSAGES, 503)

        statuses = dict(zip(paths, callers.map(lambda path: site.web(path, **PAGE), paths), strict=True))
        assert len(paths) > 50
        assert set(statuses.values()) == {503}
        assert site.web("/sign-in", "POST") == 503
        assert site.api("/api/v1/runs") == 503
        coordinator = [*MESSAGES, f"deployments/{uuid4()}", f"runs/{uuid4()}/checkpoints"]
        assert set(callers.map(site.coordinator, coordinator)) == {503}
        assert site.ready() == [503, 503]
        assert site.web("/ws/dashboard", **HANDSHAKE) == 503
        assert [site.web("/health"), site.web("/static/css/app.css")] == [200, 200]

    until(lambda: is_served(site), "served again")
    until(lambda: site.ready() == [200, 200], "ready again")


def test_a_long_poll_is_cut_when_the_database_freezes(site: Site) -> None:
    site.manage("deploy", str(ROOT / "examples" / "orders"))
    run = site.client.trigger("process-order", {"order_id": "A1"})
    answered: list[int] = []
    poll = threading.Thread(target=lambda: answered.append(site.api(f"/api/v1/runs/{run.id}?wait_seconds=30")))
    poll.start()
    with site.frozen():
        poll.join(DEADLINE_SECONDS)
        assert answered == [503]
    until(lambda: is_served(site), "served again")


def test_a_database_that_stops_is_a_503_until_it_is_back(site: Site) -> None:
    until(lambda: is_served(site), "served")

    site.postgres.stop()
    try:
        assert site.api("/api/v1/runs") == 503
        until(lambda: site.web("/sign-in", **PAGE) == 503, "pages that need no database say so too")
        pages = {site.web(path, **PAGE) for path in ("/", "/sign-in", "/admin/")} | {site.api("/api/v1/runs")}
        messages = {site.coordinator(path) for path in MESSAGES}
        until(lambda: site.ready() == [503, 503], "not ready")
    finally:
        site.postgres.start()

    assert (pages, messages) == ({503}, {503})
    until(lambda: site.web("/sign-in", **PAGE) == 200, "back")
    with ThreadPoolExecutor(TOGETHER) as callers:
        assert set(callers.map(lambda _: site.api("/api/v1/runs"), range(TOGETHER))) == {200}
    until(lambda: is_served(site), "served again")
    until(lambda: site.ready() == [200, 200], "ready again")


def test_a_database_that_takes_no_writes_is_not_ready(site: Site) -> None:
    until(lambda: site.ready() == [200, 200], "ready")

    site.query("ALTER DATABASE trigger SET default_transaction_read_only = on")
    end_sessions(site)
    until(lambda: site.ready() == [503, 503], "not ready, because it takes no writes")
    site.query("BEGIN READ WRITE; ALTER DATABASE trigger RESET default_transaction_read_only; COMMIT")
    end_sessions(site)

    until(lambda: site.ready() == [200, 200], "ready again")


def end_sessions(site: Site) -> None:
    site.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
