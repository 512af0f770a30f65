"""A run's own connection to the node's proxy: sends whole frames from any thread, never half a frame.

If the worker has closed the connection, nothing this run does can be recorded, so the process ends at once.
"""

import os
import select
import socket
import struct
import threading
from typing import Any, NoReturn

from trigger_sdk.agent.child.interrupts import EXIT_STALE, Interrupts
from trigger_sdk.wire import Frame, FrameBuffer, encode_frame

STOP_POLL_MILLISECONDS = 250
"""How soon a thread other than the main one, waiting for the worker, notices that the run must stop."""


class Channel:
    def __init__(self, path: str, interrupts: Interrupts) -> None:
        self.interrupts = interrupts
        self._lock = threading.Lock()
        self._buffer = FrameBuffer()
        self._ready: list[Frame] = []
        self._socket = socket.socket(socket.AF_UNIX)
        # The kernel applies the limit, because polling first would cost each checkpoint one more call.
        # A `struct timeval`.
        wait = struct.pack("ll", 0, STOP_POLL_MILLISECONDS * 1000)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, wait)
        self._socket.connect(path)

    def send(self, type: str, body: bytes = b"", **header: Any) -> None:  # noqa: A002 - the frame's own field
        self.tell(encode_frame(type, body, **header))

    def tell(self, *frames: bytes) -> None:
        """Sends encoded frames in one piece."""
        with self.interrupts, self._lock:
            try:
                self._socket.sendall(b"".join(frames))
            except OSError:
                self.abandon()

    def wait_for_work(self) -> bool:
        """Blocks until the worker sends a kept process its next run; false if there will be none."""
        waiting = select.poll()
        waiting.register(self._socket, select.POLLIN)
        waiting.poll()
        data = self._socket.recv(256 * 1024)
        self._ready += self._buffer.feed(data)
        return bool(data)

    def receive(self) -> Frame:
        """The next frame; raises the run's stop if that comes first."""
        while not self._ready:
            self.interrupts.raise_if_stopped()
            self._ready += self.receive_some()
        return self._ready.pop(0)

    def receive_some(self) -> list[Frame]:
        """The frames that have arrived, after a short wait for the first; for one thread at a time."""
        with self.interrupts:
            try:
                data = self._socket.recv(256 * 1024)
            except BlockingIOError:
                return []
            if not data:
                self.abandon()
            return list(self._buffer.feed(data))

    def abandon(self) -> NoReturn:
        """Ends the process: the worker has said that this attempt is no longer the valid one."""
        os._exit(EXIT_STALE)

    def close(self) -> None:
        self._socket.close()
