"""Origins of sockets behind a proxy and by configuration; those of the plain case meet a real server elsewhere."""

import asyncio
from typing import Any

import pytest
from pytest_django import Settings

from trigger_site.web.origins import OwnOriginOnly


def is_let_in(origin: str, host: str = "jobs.example.org", **headers: str) -> bool:
    called = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        called.append(scope)

    incoming: list[dict[str, Any]] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        assert message["type"] == "websocket.close"

    sent = {"host": host, "origin": origin, **{name.replace("_", "-"): value for name, value in headers.items()}}
    encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "websocket", "path": "/ws/dashboard", "query_string": b"", "headers": encoded, "scheme": "ws"}
    asyncio.run(OwnOriginOnly(application)(scope, receive, send))
    return bool(called)


@pytest.fixture(autouse=True)
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["jobs.example.org"]


def test_tls_counts_where_a_proxy_vouches_for_it(settings: Settings) -> None:
    assert is_let_in("http://jobs.example.org")
    assert not is_let_in("https://jobs.example.org", x_forwarded_proto="https")

    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

    assert is_let_in("https://jobs.example.org", x_forwarded_proto="https")
    assert not is_let_in("http://jobs.example.org", x_forwarded_proto="https")
    assert not is_let_in("https://jobs.example.org:8443", x_forwarded_proto="https")


def test_trusted_origins_are_let_in_whole(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example.org", "https://*.example.net"]

    assert is_let_in("https://desk.example.org")
    assert is_let_in("https://a.example.net")
    for origin in ("http://desk.example.org", "https://desk.example.org:444", "https://example.net.evil.example"):
        assert not is_let_in(origin)


def test_another_host_vouches_for_nobody() -> None:
    assert not is_let_in("http://evil.example", host="evil.example")
