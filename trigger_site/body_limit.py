"""Bounds request bodies before anything reads them: Django would spool a body without end to the disk.

Counts what arrives, so a length that is missing or false changes nothing. Handlers have narrower limits of their own.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from apps.runs.requests import BodyTooLarge
from trigger_site.problems import problem_response

BODY_MAX_BYTES = 8 * 1024 * 1024
"""As `DATA_UPLOAD_MAX_MEMORY_SIZE`: no page and no API call takes more."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[..., Awaitable[None]]


class BodyLimit:
    """ASGI: answers 413 where a body is over the limit and passes everything else on."""

    def __init__(self, application: Application, max_bytes: int = BODY_MAX_BYTES) -> None:
        self._application = application
        self._max_bytes = max_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received <= self._max_bytes:
                return message
            # What Django takes for a client that went away: it drops what it has and answers nothing.
            await _drain(message, receive, self._max_bytes)
            return {"type": "http.disconnect"}

        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        await self._application(scope, counted, send)
        if received > self._max_bytes:
            await _refuse(send, self._max_bytes)


async def _drain(message: Message, receive: Receive, max_bytes: int) -> None:
    """Reads and forgets as much again: a client that is still sending would lose the answer with the connection."""
    dropped = 0
    while message.get("more_body") and dropped < max_bytes:
        message = await receive()
        dropped += len(message.get("body", b""))


async def _refuse(send: Send, max_bytes: int) -> None:
    response = problem_response(BodyTooLarge(f"The body has more than {max_bytes:,} bytes."))
    headers = [(name.lower().encode(), value.encode()) for name, value in response.items()]
    # The rest of the body is still coming: the connection cannot be used again.
    headers += [(b"connection", b"close"), (b"content-length", str(len(response.content)).encode())]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
