"""Frames between a task's processes and its node's proxy, over one unix socket per agent.

A frame is `!II` (header length, body length), a JSON header with a `type`, and a body of opaque bytes: values travel in
bodies and are never parsed on the way. `docs/protocol.md` lists the frames, and who sends each one when.
"""

import json
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PROTOCOL_VERSION = "1.1"
"""Major and minor; an agent and a worker with different majors do not talk to each other."""

SOCKET_NAME = "proxy.sock"
HEADER_MAX_BYTES = 1024 * 1024
BODY_MAX_BYTES = 8 * 1024 * 1024
_LENGTHS = struct.Struct("!II")
_write = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class WireError(Exception):
    """The peer sent something that is not a frame of this protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    type: str
    header: dict[str, Any]
    body: bytes = b""
    header_bytes: int = field(default=0, compare=False)
    """The size of the header on the wire; 0 for a frame that was not received."""


def encode_frame(type: str, body: bytes = b"", **header: Any) -> bytes:  # noqa: A002 - the field's own name
    """The bytes of one frame; raises WireError if the header or body is over its limit."""
    head = _write({"type": type, **header}).encode()
    if len(head) > HEADER_MAX_BYTES or len(body) > BODY_MAX_BYTES:
        raise WireError(f"a {type} frame of {len(head)} + {len(body)} bytes is over the limit")
    return _LENGTHS.pack(len(head), len(body)) + head + body


class FrameBuffer:
    """Turns a stream of bytes into frames; raises WireError on the first byte that cannot be one."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def is_empty(self) -> bool:
        return not self._data

    def add(self, data: bytes) -> None:
        """Adds received bytes; `take` returns the complete frames."""
        self._data += data

    def take(self) -> Frame | None:
        """The next complete frame; None if there is none yet."""
        if len(self._data) < _LENGTHS.size:
            return None
        head_length, body_length = _LENGTHS.unpack_from(self._data)
        if head_length > HEADER_MAX_BYTES or body_length > BODY_MAX_BYTES:
            raise WireError(f"a frame of {head_length} + {body_length} bytes is over the limit")
        end = _LENGTHS.size + head_length + body_length
        if len(self._data) < end:
            return None
        head = bytes(self._data[_LENGTHS.size : _LENGTHS.size + head_length])
        body = bytes(self._data[_LENGTHS.size + head_length : end])
        del self._data[:end]
        return _frame(head, body)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Adds the bytes and yields the frames that are now complete."""
        self.add(data)
        while (frame := self.take()) is not None:
            yield frame


class FrameSocket:
    """Blocking frames over a connected socket, for the agent and its children."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = FrameBuffer()
        self._ready: list[Frame] = []

    def send(self, type: str, body: bytes = b"", **header: Any) -> None:  # noqa: A002
        self.connection.sendall(encode_frame(type, body, **header))

    def receive(self) -> Frame | None:
        """The next frame; None at the end of the stream."""
        while not self._ready:
            data = self.connection.recv(256 * 1024)
            if not data:
                return None
            self._ready.extend(self._buffer.feed(data))
        return self._ready.pop(0)

    def close(self) -> None:
        self.connection.close()


def _frame(head: bytes, body: bytes) -> Frame:
    try:
        header = json.loads(head)
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame's header is not JSON: {error}") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise WireError("a frame's header has no type")
    return Frame(header.pop("type"), header, body, len(head))
