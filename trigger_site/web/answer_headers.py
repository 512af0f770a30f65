"""The headers every answer carries, whatever wrote it: a view, a middleware, the API's short way, a limit.

A page's own header wins; these are the defaults. Answers with data must never be cached; only static files say
otherwise, with their own header.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]

STARTS = frozenset({"http.response.start", "websocket.http.response.start"})

NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The content policy of anything but our pages, which have their own: nothing is loaded, sent or framed."""

FEATURES = ("camera", "display-capture", "geolocation", "microphone", "midi", "payment", "serial", "usb")


class AnswerHeaders:
    """ASGI: adds the headers that an answer lacks."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in STARTS:
                message = {**message, "headers": with_defaults(message.get("headers", ()), is_secure=is_secure(scope))}
            await send(message)

        await self._application(scope, receive, send_with_headers)


def with_defaults(headers: Any, *, is_secure: bool) -> list[tuple[bytes, bytes]]:
    given = [(bytes(name), bytes(value)) for name, value in headers]
    names = {name.lower() for name, _ in given}
    defaults = SECURE_DEFAULTS if is_secure else DEFAULTS
    return [*given, *((name, value) for name, value in defaults if name not in names)]


def is_secure(scope: MutableMapping[str, Any]) -> bool:
    """Whether the browser's own connection is encrypted, as Django judges it."""
    if settings.SECURE_PROXY_SSL_HEADER is None:
        return scope.get("scheme") in ("https", "wss")
    told = dict(scope.get("headers", ())).get(b"x-forwarded-proto", b"")
    return bool(told.partition(b",")[0].strip() == b"https")


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


DEFAULTS = _encoded(
    {
        "Cache-Control": "no-store",
        "Content-Security-Policy": NOTHING,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Permissions-Policy": ", ".join(f"{feature}=()" for feature in FEATURES),
        "Referrer-Policy": settings.SECURE_REFERRER_POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": settings.X_FRAME_OPTIONS,
    }
)
SECURE_DEFAULTS = [
    *DEFAULTS,
    *_encoded(
        {"Strict-Transport-Security": f"max-age={settings.SECURE_HSTS_SECONDS}"} if settings.SECURE_HSTS_SECONDS else {}
    ),
]
