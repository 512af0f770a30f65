"""The web process's answer while the database is away: 503 with Retry-After, at once and to all who wait."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.template.loader import render_to_string

from apps.http.problems import RETRY_AFTER_SECONDS, DatabaseAway, problem_response
from trigger_site.edge.database_watch import DatabaseWatch
from trigger_site.edge.probes import respond

API_PATH = "/api/"
PAGE_POLICY = "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'"

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


class AnswersWhileAway:
    """ASGI: passes requests on while the database is up; static files always."""

    def __init__(self, application: Application) -> None:
        self.watch = DatabaseWatch(settings.DATABASE_URL, on_away=self._cut, on_back=replace_broken_connections)
        self._application = application
        self._requests: set[_Request] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind not in ("http", "websocket") or scope["path"].startswith(f"/{settings.STATIC_URL.lstrip('/')}"):
            await self._application(scope, receive, send)
        elif self.watch.is_away:
            await (refuse_socket(scope, receive, send) if kind == "websocket" else respond(send, away_answer(scope)))
        elif kind == "websocket":
            await self._pass_socket_on(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_socket_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noted(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._application(scope, receive, noted)
        except (OperationalError, InterfaceError):
            if has_begun:
                raise  # the server closes the socket, and the page opens another
            await refuse_socket(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _Request(send)
        self._requests.add(request)
        work = asyncio.ensure_future(self._application(scope, receive, request.send))
        try:
            await asyncio.wait({work, request.is_cut}, return_when=asyncio.FIRST_COMPLETED)
            if request.is_cut.done():
                await respond(send, away_answer(scope))
                # Its threads end with their broken connections; the caller need not wait for that.
                work.add_done_callback(_note_end)
            else:
                await work
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            self._requests.discard(request)
            request.is_cut.cancel()

    def _cut(self) -> None:
        for request in list(self._requests):
            request.cut()


class _Request:
    """One request, which may be cut until its answer has begun."""

    def __init__(self, send: Send) -> None:
        self.is_cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._send = send
        self._has_begun = False

    def cut(self) -> None:
        if not self._has_begun and not self.is_cut.done():
            self.is_cut.set_result(None)

    async def send(self, message: Message) -> None:
        if not self.is_cut.done():
            self._has_begun = True
            await self._send(message)


def replace_broken_connections() -> None:
    """Replaces the pool's old connections: otherwise each would cost a request its answer."""
    pool = connection.pool  # type: ignore[attr-defined]  # of the PostgreSQL backend
    if pool is not None:
        pool.check()


def away_answer(scope: Scope) -> HttpResponse:
    """Returns a problem for programs, a page for browsers."""
    accepted = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    if scope["path"].startswith(API_PATH) or b"text/html" not in accepted:
        return problem_response(DatabaseAway("The database is not answering at present; try again."))
    return away_page()


def away_page(*, is_held: bool = False) -> HttpResponse:
    """Renders the page for a silent database; with `is_held`, for one whose other session holds what is needed."""
    response = HttpResponse(render_to_string("503.html", {"is_held": is_held}), status=503)
    response["Retry-After"] = RETRY_AFTER_SECONDS
    response["Content-Security-Policy"] = PAGE_POLICY
    return response


async def refuse_socket(scope: Scope, receive: Receive, send: Send, status: int = 503) -> None:
    """Answers a WebSocket handshake with a status instead of a socket."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1013})
        return
    await send({"type": "websocket.http.response.start", "status": status, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


async def no_such_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers an unknown socket with a 404 instead of the exception that the router would raise."""
    await refuse_socket(scope, receive, send, 404)


def _note_end(work: "asyncio.Future[None]") -> None:
    if not work.cancelled() and work.exception() is not None:
        logger.info("edge.cut: %s", work.exception())
