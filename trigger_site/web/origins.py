"""Says which pages may open a socket: this site's, by scheme, host and port together, and the trusted origins.

The browser sends a page's origin with each handshake, and the user's cookies whatever page it is: only this check
keeps other sites from reading along.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from io import BytesIO
from typing import Any

from channels.security.websocket import WebsocketDenier
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

Application = Callable[..., Awaitable[None]]


class _OriginCheck(CsrfViewMiddleware):
    """Applies Django's check of a form's origin to a socket's."""

    def is_own(self, scope: MutableMapping[str, Any]) -> bool:
        origins = [value for name, value in scope["headers"] if name == b"origin"]
        if len(origins) != 1:
            return False
        scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), scope.get("scheme"))
        request = ASGIRequest({**scope, "method": "GET", "scheme": scheme}, BytesIO())
        return bool(self._origin_verified(request))  # type: ignore[attr-defined]  # unknown to the stubs


class OwnOriginOnly:
    """ASGI, for sockets: refuses the handshake of any other page, and of clients that name no page."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._check = _OriginCheck(lambda _: HttpResponse())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        application = self._application if self._check.is_own(scope) else WebsocketDenier()
        await application(scope, receive, send)
