"""Answers `/health` and `/ready` of a server process before anything else: no Host check, no session, no database.

Load balancers and supervisors call them, by IP and without HTTPS. `/ready` reports what the watch itself found within
the last seconds, so frequent calls cost the database nothing.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.http import HttpResponse

from apps.http.problems import MethodNotAllowed, NotReady, problem_response
from trigger_site.edge.database_watch import DatabaseWatch

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[..., Awaitable[None]]

HEALTH, READY = "/health", "/ready"


class Probes:
    """ASGI: answers the two addresses and passes everything else on."""

    def __init__(self, application: Application, watch: DatabaseWatch) -> None:
        self._application = application
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in (HEALTH, READY):
            await respond(send, self._answer(scope))
        else:
            await self._application(scope, receive, send)

    def _answer(self, scope: Scope) -> HttpResponse:
        if scope["method"] not in ("GET", "HEAD"):
            problem = problem_response(MethodNotAllowed(f"{scope['method']} is not allowed at {scope['path']}."))
            problem["Allow"] = "GET, HEAD"
            return problem
        if scope["path"] == READY and (reason := self._watch.unready):
            return problem_response(NotReady(reason))
        status = "ok" if scope["path"] == HEALTH else "ready"
        return HttpResponse(f'{{"status":"{status}"}}', content_type="application/json")


async def respond(send: Send, response: HttpResponse) -> None:
    """Sends a Django response without Django's handler."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    headers.append((b"content-length", str(len(response.content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
