"""Bounds HTTP connections before anything is parsed, kept or started: uvicorn's protocol on httptools.

httptools has no limits of its own and copies a header that arrives in pieces once per piece; uvicorn waits for ever for
the rest of a request. So the bytes of an incomplete head are counted here, every read and write has a deadline, and
anything too large or too slow is answered (408, 414, 431, 503) and closed.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from apps.http.errors import Refusal
from apps.http.problems import (
    AddressTooLong,
    HeadTooLarge,
    RequestMalformed,
    RequestTooSlow,
    ServerFull,
    problem_response,
)
from trigger_site.edge.gate import Gate, peer_of

LINGER_SECONDS = 2.0
"""How long input is still read and dropped after a refusal: an immediate close would lose the answer."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection: in a head (from the end of one request to the end of the next one's headers) or in a body."""

    def __init__(self, *args: Any, gate: Gate, **options: Any) -> None:
        super().__init__(*args, **options)
        self.peer = ""
        self.deadline: float | None = None
        self._gate = gate
        self._limits = gate.limits
        self._is_in_head = True
        self._head_bytes = 0
        self._has_begun = False
        """Whether any byte of the current head beyond empty lines has arrived."""
        self._has_completed = False
        """Whether a request ended in the piece being fed."""
        self._is_upgraded = False
        self._is_refused = False
        self._refusal: Refusal | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = peer_of(self.client)
        if self._gate.enter(self):
            self._gate.waits(self)
            self.deadline = self._in(self._limits.read_seconds)
        else:
            self._is_refused = True
            self._write(ServerFull("The server has no place for another connection."))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser no more of a head than the limit allows."""
        while data and not self._is_refused and not self._is_upgraded:
            room = max(self._limits.head_bytes - self._head_bytes, 1) if self._is_in_head else len(data)
            self._feed(data[:room])
            data = data[room:]

    def _feed(self, piece: bytes) -> None:
        if self._is_in_head and self.deadline is None:
            self.deadline = self._in(self._limits.read_seconds)
        self._has_completed = False
        super().data_received(piece)
        if self._is_refused or self._is_upgraded:
            return
        if not self._is_in_head:
            self._earn_time(len(piece))
        elif not self._has_completed:  # otherwise the new head's share of the piece is unknown
            self._head_bytes += len(piece)
            self._check_head()

    def _earn_time(self, count: int) -> None:
        """Extends the deadline: a stall may last `read_seconds`; a peer below the slowest average rate is cut."""
        if self.deadline is not None and not self.cycle.response_complete:
            longest = self._in(self._limits.read_seconds)
            self.deadline = min(longest, self.deadline + count / self._limits.slowest_bytes_per_second)

    def _check_head(self) -> None:
        limits = self._limits
        if self._has_begun and len(self.headers) > limits.header_count:
            self._refuse(_too_many_headers(limits.header_count))
        elif self._head_bytes >= limits.head_bytes:
            self._refuse(_head_too_large(limits.head_bytes))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._has_begun = True
        self.deadline = self._in(self._limits.read_seconds)

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._limits.target_bytes:
            detail = f"The address has more than {self._limits.target_bytes:,} bytes."
            self._stop_parser(AddressTooLong(detail))
        super().on_url(url)

    def on_headers_complete(self) -> None:
        if len(self.headers) > self._limits.header_count:
            self._stop_parser(_too_many_headers(self._limits.header_count))
        if len(self.pipeline) >= self._limits.pipelined:
            self._stop_parser(ServerFull("Too many requests on this connection are waiting for an answer."))
        super().on_headers_complete()
        self._is_in_head = False
        self.deadline = self._in(self._limits.read_seconds)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._is_in_head, self._has_begun, self._has_completed = True, False, True
        self._head_bytes = 0
        self.deadline = None
        if self.cycle is not None and self.cycle.response_complete:
            self._rest()
        else:
            self._gate.works(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self.deadline = self._in(self._seconds_to_write())
        elif not self._is_in_head:
            self.deadline = self._in(LINGER_SECONDS)
        elif self.cycle.response_complete:
            self._rest()

    def _rest(self) -> None:
        """Idles. Uvicorn closes it after a while; a peer that does not read its last answer delays that."""
        self._gate.waits(self)
        if not self._has_begun:
            self.deadline = self._in(self.timeout_keep_alive + LINGER_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.deadline = self._in(self._seconds_to_write())

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self.deadline = None if self._is_in_head else self._in(self._limits.read_seconds)

    def _seconds_to_write(self) -> float:
        left = self.transport.get_write_buffer_size()
        return self._limits.read_seconds + left / self._limits.slowest_bytes_per_second

    def handle_websocket_upgrade(self) -> None:
        self._is_upgraded = True
        self._gate.works(self)
        self.deadline = None
        socket: Any = partial(GuardedSocket, on_lost=partial(self._gate.leave, self))
        self.ws_protocol_class = socket
        super().handle_websocket_upgrade()

    def _unsupported_upgrade_warning(self) -> None:
        """Logs nothing: a peer may ask for any protocol and is answered in this one."""

    def overdue(self) -> None:
        """Ends a connection past its deadline; what the peer failed to do decides how."""
        if self._is_refused or self.transport.is_closing() or self.flow.write_paused:
            self.transport.abort()
        elif self._is_being_answered() and (self._is_in_head or self.flow.read_paused):
            self.deadline = self._in(self._limits.read_seconds)  # the peer waits for us
        elif self._is_in_head and not self._has_begun:
            self.transport.abort()
        else:
            what = "headers" if self._is_in_head else "body"
            self._refuse(RequestTooSlow(f"The {what} of the request arrived too slowly."))

    def leave_for_another(self) -> None:
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or RequestMalformed("This is not a valid HTTP request."))

    def _stop_parser(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise refusal

    def _refuse(self, refusal: Refusal) -> None:
        """Answers unless another answer is due, then drops further input until the peer is gone or time is up."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._unset_keepalive_if_required()
        is_own_turn = not self.pipeline and not (
            self._is_being_answered() and (self._is_in_head or self.cycle.response_started)
        )
        if self._is_being_answered():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not is_own_turn:
            self.transport.abort()
            return
        self._write(refusal)
        self.transport.write_eof()
        self.flow.resume_reading()
        self.deadline = self._in(LINGER_SECONDS)

    def _write(self, refusal: Refusal) -> None:
        response = problem_response(refusal)
        lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}"]
        lines += [f"{name}: {value}" for name, value in response.items()]
        lines += [f"Content-Length: {len(response.content)}", "Connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode() + response.content)

    def _is_being_answered(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.disconnected

    def _in(self, seconds: float) -> float:
        return self.loop.time() + seconds


class GuardedSocket(WebSocketsSansIOProtocol):
    """A WebSocket that keeps its connection's place until it is lost."""

    def __init__(self, *args: Any, on_lost: Callable[[], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._on_lost = on_lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        """Aborts: a polite close would wait for a peer that does not read to read the rest."""
        super().keepalive_timeout()
        self.transport.abort()


def _too_many_headers(count: int) -> HeadTooLarge:
    return HeadTooLarge(f"The request has more than {count} headers.")


def _head_too_large(count: int) -> HeadTooLarge:
    return HeadTooLarge(f"Request line and headers have more than {count:,} bytes.")
