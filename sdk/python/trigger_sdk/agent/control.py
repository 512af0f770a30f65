"""The agent's control connection: frames to and from the worker, kept across a short loss of the connection.

The caller's loop says when the socket is readable or writable; nothing here blocks.
"""

import os
import select
import socket
import sys
import time
from collections import deque
from typing import Any

from trigger_sdk.wire import PROTOCOL_VERSION, Frame, FrameBuffer, WireError, encode_frame

CROWDED_BYTES = 1024 * 1024
"""With more than this unsent, the agent stops reading its runs' output until the worker has caught up."""

SENT_AT_ONCE_BYTES = 64 * 1024


class Control:
    def __init__(self, path: str) -> None:
        self.path = path
        self.socket: socket.socket | None = None
        self.is_welcome = False
        self._secret = bytearray()
        self._buffer = FrameBuffer()
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._sent_of_first = 0

    @property
    def has_unsent(self) -> bool:
        return bool(self._outbox)

    @property
    def is_crowded(self) -> bool:
        return self._outbox_bytes > CROWDED_BYTES

    def connect(self) -> socket.socket | None:
        """Connects and says hello, with the secret if it already has one; None if nobody is listening."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.path)
            secret = self._secret.decode() or None
            connection.sendall(
                encode_frame(
                    "hello",
                    protocol=PROTOCOL_VERSION,
                    pid=os.getpid(),
                    python=".".join(map(str, sys.version_info[:3])),
                    secret=secret,
                )
            )
        except OSError:
            connection.close()
            return None
        connection.setblocking(False)
        self.socket = connection
        self._buffer = FrameBuffer()
        self._sent_of_first = 0  # a frame cut short by the loss is sent again in full
        return connection

    def welcome(self, secret: str) -> None:
        self._secret[:] = secret.encode()
        self.is_welcome = True

    def send(self, type: str, body: bytes = b"", **header: Any) -> None:  # noqa: A002 - the frame's own field
        """Queues a frame for the next `flush`, so that the other side wakes up once for what belongs together."""
        data = encode_frame(type, body, **header)
        self._outbox.append(data)
        self._outbox_bytes += len(data)
        if self._outbox_bytes > SENT_AT_ONCE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends as much as the socket takes; the next `receive` notices a broken one."""
        while self.socket is not None and self.is_welcome and self._outbox:
            try:
                sent = self.socket.send(self._next_piece())
            except OSError:
                return
            self._sent_of_first += sent
            while self._outbox and self._sent_of_first >= len(self._outbox[0]):
                size = len(self._outbox.popleft())
                self._outbox_bytes -= size
                self._sent_of_first -= size

    def _next_piece(self) -> memoryview:
        frames: list[bytes] = []
        size = 0
        for frame in self._outbox:
            frames.append(frame)
            size += len(frame)
            if size >= SENT_AT_ONCE_BYTES:
                break
        return memoryview(b"".join(frames))[self._sent_of_first :]

    def flush_for(self, seconds: float) -> None:
        """Waits until everything is sent, the connection breaks, or the time is up."""
        deadline = time.monotonic() + seconds
        while self.socket is not None and self.is_welcome and self._outbox and time.monotonic() < deadline:
            before = (len(self._outbox), self._sent_of_first)
            self.flush()
            if before == (len(self._outbox), self._sent_of_first):
                select.select([], [self.socket], [], 0.05)

    def receive(self) -> list[Frame] | None:
        """The frames that have arrived; None once the connection is lost."""
        assert self.socket is not None
        try:
            data = self.socket.recv(256 * 1024)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        try:
            return list(self._buffer.feed(data)) if data else None
        except WireError:
            return None

    def lose(self) -> None:
        assert self.socket is not None
        self.socket.close()
        self.socket = None
        self.is_welcome = False

    def forget(self) -> None:
        """In a forked child: closes the copy of the connection and wipes the copy of the secret."""
        if self.socket is not None:
            self.socket.close()
        self._secret[:] = bytes(len(self._secret))
        self._outbox.clear()
