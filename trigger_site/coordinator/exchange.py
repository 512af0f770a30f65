"""Reads workers' requests and answers them: body, addresses, tokens, problems."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import UUID

import msgspec

from apps.protocol import Message, Problem, encode
from trigger_site.coordinator.database import DatabaseAwayError, HeldError

BODY_MAX_BYTES = 64 * 1024 * 1024
"""A worker's largest batch; the verbs bound its items one by one."""

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ProblemError(Exception):
    """Answers a request with a problem instead of a reply."""

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(f"/problems/{kind}", detail)


async def read_body(receive: Receive) -> bytes:
    """Returns the whole body; raises ProblemError if it is too large, ConnectionResetError if it breaks off."""
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionResetError
        parts.append(event.get("body", b""))
        size += len(parts[-1])
        if size > BODY_MAX_BYTES:
            raise ProblemError(413, "message-too-large", f"A message may have at most {BODY_MAX_BYTES:,} bytes.")
        if not event.get("more_body"):
            return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Returns when the connection is gone."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def respond(send: Send, status: int, reply: Message) -> None:
    body = encode(reply)
    headers = [(b"content-type", b"application/msgpack"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem_of(error: Exception, path: str) -> tuple[int, Problem]:
    """Returns status and body for an exception raised by a request; logs unexpected ones."""
    if isinstance(error, ProblemError):
        return error.status, error.problem
    if isinstance(error, msgspec.ValidationError):
        return 422, Problem("/problems/message-invalid", str(error))
    if isinstance(error, msgspec.MsgspecError):
        return 400, Problem("/problems/malformed-message", str(error))
    if isinstance(error, DatabaseAwayError):
        return 503, Problem("/problems/database-away", str(error))
    if isinstance(error, HeldError):
        return 503, Problem("/problems/busy", str(error))
    logger.error("coordinator.request %s", path, exc_info=error)
    return 500, Problem("/problems/internal-error", "The coordinator failed; its log says why.")


def header(scope: Scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def read_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise ProblemError(404, "no-such-address", f"{text!r} is not an id.") from None


def read_index(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ProblemError(404, "no-such-address", f"{text!r} is not the index of a checkpoint.")
    return int(text)


def attempt_token(scope: Scope) -> bytes:
    try:
        return bytes.fromhex(header(scope, b"x-attempt-token").decode("ascii"))
    except ValueError:
        raise ProblemError(401, "attempt-token-wrong", "X-Attempt-Token is not hexadecimal.") from None
