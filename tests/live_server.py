"""The real web application behind a real uvicorn, in a thread of the test process, on the test's own database.

For tests marked `django_db(transaction=True)`: the server sees committed rows only.
"""

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

START_SECONDS = 20.0


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


@dataclass
class LiveServer:
    host: str
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def call(self, method: str, path: str, body: Any = None, *, timeout: float = 30, **options: Any) -> Answer:
        """One request on a connection of its own; the body is bytes, or an iterable of them (sent in chunks)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            headers = {"Content-Type": "application/json", **self.headers, **options.pop("headers", {})}
            connection.request(method, path, body, headers, **options)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


@contextmanager
def running_server(headers: dict[str, str] | None = None) -> Iterator[LiveServer]:
    """A server on a free port; `headers` are sent with every call."""
    config = uvicorn.Config(
        "trigger_site.asgi:application", port=0, lifespan="off", log_config=None, timeout_graceful_shutdown=2,
        proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="live-server")
    thread.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield LiveServer(host, port, headers or {})
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
