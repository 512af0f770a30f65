"""Bounds request bodies before anything reads them: Django would spool an endless body to disk.

Counts what arrives, so a missing or false length changes nothing. Handlers have narrower limits of their own. All
requests together are bounded too: Django keeps the first 2.5 MB of each in memory, whoever sends it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from apps.http.errors import BodyTooLarge
from apps.http.problems import ServerFull, problem_response

BODY_MAX_BYTES = 8 * 1024 * 1024
"""Same as `DATA_UPLOAD_MAX_MEMORY_SIZE`: no page or API call takes more."""

SMALL_BYTES = 64 * 1024
"""What each request may send whatever the others hold: more than forms and calls without large values need."""

TOGETHER_MAX_BYTES = 64 * 1024 * 1024
"""The limit for everything unfinished requests have sent beyond SMALL_BYTES."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


class BodyLimit:
    """ASGI: answers 413 or 503 if a body, or all bodies together, exceed the limit; passes everything else on."""

    def __init__(
        self, application: Application, max_bytes: int = BODY_MAX_BYTES, together_max_bytes: int = TOGETHER_MAX_BYTES
    ) -> None:
        self._application = application
        self._max_bytes = max_bytes
        self._together_max_bytes = together_max_bytes
        self._held_bytes = 0

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        received = held = 0
        refusal: Exception | None = None

        async def counted() -> Message:
            nonlocal received, held, refusal
            message = await receive()
            received += len(message.get("body", b""))
            more = max(0, received - SMALL_BYTES - held)
            if received > self._max_bytes:
                refusal = BodyTooLarge(f"The body has more than {self._max_bytes:,} bytes.")
            elif more and self._held_bytes + more > self._together_max_bytes:
                refusal = ServerFull("The server is receiving too many large bodies at present.")
            else:
                held += more
                self._held_bytes += more
                return message
            # To Django this is a client that went away: it drops what it has and answers nothing.
            await _drain(message, receive, self._max_bytes)
            return {"type": "http.disconnect"}

        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        try:
            await self._application(scope, counted, send)
        finally:
            self._held_bytes -= held
        if refusal is not None:
            await _refuse(send, refusal)


async def _drain(message: Message, receive: Receive, max_bytes: int) -> None:
    """Reads and drops as much again: a client still sending would lose the answer with the connection."""
    dropped = 0
    while message.get("more_body") and dropped < max_bytes:
        message = await receive()
        dropped += len(message.get("body", b""))


async def _refuse(send: Send, refusal: Exception) -> None:
    response = problem_response(refusal)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    # The rest of the body is still coming: the connection cannot be reused.
    headers += [(b"connection", b"close"), (b"content-length", str(len(response.content)).encode())]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
