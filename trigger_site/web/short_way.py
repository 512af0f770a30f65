"""The short way for API calls: Django without its middleware, one thread switch per request.

The middleware serves browsers: sessions, CSRF, content policy, static files. For a program's call it would cost several
times as much as the call itself, because each piece switches between the event loop and a thread.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from apps.http.problems import HostRefused, problem_response

API_PATH = "/api/v1/"

Application = Callable[..., Awaitable[None]]


class ApiHandler(ASGIHandler):
    """Django's handler with an empty middleware chain: addresses, views, signals and error pages are unchanged."""

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's signature
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        chain = self._get_response_async  # type: ignore[attr-defined]  # unknown to the stubs
        self._middleware_chain = convert_exception_to_response(chain)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        response: Any = _host_refusal(request) or await super().get_response_async(request)
        if not response.streaming:  # otherwise the answer would go out in chunks
            response.headers.setdefault("Content-Length", str(len(response.content)))
        answer: HttpResponseBase = response
        return answer


def _host_refusal(request: HttpRequest) -> HttpResponse | None:
    """Makes the middleware's Host check, which the short way would otherwise skip."""
    try:
        request.get_host()
    except DisallowedHost:
        return problem_response(HostRefused("The header Host names no host of this site."))
    return None


def with_short_way(site: Application, api: Application) -> Application:
    """Returns an application that passes calls with a credential of their own to `api`, all else to `site`.

    A call without one (a browser reading the API's description) needs the session that the middleware provides.
    """

    async def choose(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        is_call = scope["path"].startswith(API_PATH) and any(name == b"authorization" for name, _ in scope["headers"])
        await (api if is_call else site)(scope, receive, send)

    return choose
