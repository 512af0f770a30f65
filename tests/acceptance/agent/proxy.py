"""The worker's end of the agent's socket, as in `docs/protocol.md`, which keeps everything it receives.

A thread per connection answers frames; tests wait for frames by type, each wait with a deadline.
"""

import contextlib
import os
import queue
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trigger_sdk.wire import SOCKET_NAME, Frame, FrameSocket

DEADLINE_SECONDS = 60.0

SECRET_MARK = "s3cr3t-"
"""Repeated in each secret, so that a piece of one is recognised in partly reused memory."""

Answer = Callable[["Attempt", Frame], Frame | None]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """The condition's first true value; fails the test at the deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


def save_always(attempt: "Attempt", frame: Frame) -> Frame:
    return Frame("saved", {"sequence": frame.header["sequence"], "index": len(attempt.checkpoints) - 1})


@dataclass
class Stored:
    key: str
    index: int
    binds: list[str]
    data: bytes | None
    carried: bytes = b""
    kind: str = "checkpoint"
    codec: int = 1


@dataclass
class Attempt:
    """One run given to the agent, and all its frames from both connections, in order of arrival."""

    ticket: str
    task: str
    payload: bytes
    number: int
    stored: Sequence[Stored]
    answer: Answer
    run_id: str
    frames: list[tuple[float, Frame]] = field(default_factory=list)
    started_at: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)
    has_closed: threading.Event = field(default_factory=threading.Event)
    peer: FrameSocket | None = None

    def add(self, frame: Frame) -> None:
        with self.changed:
            self.frames.append((time.monotonic(), frame))
            self.changed.notify_all()

    def of(self, *types: str) -> list[Frame]:
        with self.changed:
            return [frame for _, frame in self.frames if frame.type in types]

    @property
    def checkpoints(self) -> list[Frame]:
        return self.of("checkpoint")

    def wait(self, type: str, seconds: float = DEADLINE_SECONDS) -> Frame:  # noqa: A002 - the frame's own field
        """The first frame of this type; the assertion shows what came instead."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for _, frame in self.frames:
                    if frame.type == type:
                        return frame
                if not self.changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"no {type!r} frame within {seconds} s; came: {self.frames}")

    def wait_line(self, text: str, seconds: float = DEADLINE_SECONDS) -> Frame:
        return wait_for(lambda: next((f for f in self.of("log") if text in f.header["message"]), None), text, seconds)

    def end(self, seconds: float = DEADLINE_SECONDS) -> Frame:
        """Waits until agent and child have both said everything, and returns the `exited` frame."""
        exited = self.wait("exited", seconds)
        if self.peer is not None:
            assert self.has_closed.wait(seconds), "the child's connection stayed open"
        return exited

    def lines(self, *sources: str) -> list[str]:
        return [f.header["message"] for f in self.of("log") if not sources or f.header["source"] in sources]


class Proxy:
    """Listens in its own folder and starts the agent there; `close` ends both."""

    def __init__(self, folder: Path, python: Path, *, isolation: str = "process") -> None:
        self.folder = folder
        self.python = python
        self.isolation = isolation
        self.secret = SECRET_MARK * 20 + secrets.token_hex(16)
        self.variables: dict[str, str] = {}
        self.attempts: dict[str, Attempt] = {}
        self.hellos: list[Frame] = []
        self.frames: queue.Queue[Frame] = queue.Queue()
        self.control: FrameSocket | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self._connections: list[socket.socket] = []
        self.listen()

    def listen(self) -> None:
        path = self.folder / SOCKET_NAME
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o777)
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def start_agent(
        self, tasks: Path, *, prefix: Iterable[str] = (), command: Sequence[str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        if command is None:
            serve = ["-I", "-m", "trigger_sdk.agent", "serve", "--socket-dir", str(self.folder), "--tasks", str(tasks)]
            command = [*prefix, str(self.python), *serve]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
        return self.process

    def ready(self, tasks: Path, **options: Any) -> Frame:
        self.start_agent(tasks, **options)
        return self.expect("ready")

    def expect(self, type: str, seconds: float = DEADLINE_SECONDS) -> Frame:  # noqa: A002 - the frame's own field
        deadline = time.monotonic() + seconds
        seen = []
        while True:
            try:
                frame = self.frames.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {type!r} frame within {seconds} s; came: {seen}") from None
            if frame.type == type:
                return frame
            seen.append(frame)
            assert frame.type != "load_failed", frame.header["error"]["stack"]

    def run(
        self,
        task: str,
        payload: bytes = b"{}",
        *,
        number: int = 1,
        stored: Sequence[Stored] = (),
        folder: Path | None = None,
        answer: Answer = save_always,
        run_id: str = "run_test",
        is_kept: bool = False,
    ) -> Attempt:
        attempt = Attempt(secrets.token_hex(16), task, payload, number, stored, answer, run_id)
        self.attempts[attempt.ticket] = attempt
        attempt.started_at = time.monotonic()
        assert self.control is not None
        self.control.send(
            "run",
            ticket=attempt.ticket,
            run_id=run_id,
            folder=None if folder is None else str(folder),
            is_kept=is_kept,
        )
        return attempt

    def resume(
        self,
        previous: Attempt,
        payload: bytes = b"{}",
        *,
        folder: Path | None = None,
        run_id: str = "run_next",
        answer: Answer = save_always,
        task: str = "",
        stored: Sequence[Stored] = (),
    ) -> Attempt:
        """Gives the process that is waiting after `previous` its next run; later frames belong to the new run."""
        attempt = Attempt(previous.ticket, task or previous.task, payload, 1, stored, answer, run_id)
        attempt.started_at = time.monotonic()
        attempt.peer = previous.peer
        assert attempt.peer is not None
        self.attempts[attempt.ticket] = attempt
        self._tell_work(attempt.peer, attempt, folder=None if folder is None else str(folder))
        return attempt

    def settle(self, attempt: Attempt) -> None:
        assert self.control is not None
        self.control.send("settle", ticket=attempt.ticket)

    def stop(self, attempt: Attempt, reason: str, grace_seconds: float) -> None:
        """Tests that are not about the grace period use one longer than their waits: a busy machine is slow."""
        assert self.control is not None
        self.control.send("stop", ticket=attempt.ticket, reason=reason, grace_seconds=grace_seconds)

    def cut(self) -> None:
        """What the agent sees when the worker dies: no listener, and every connection closed."""
        for connection in (self._listener, *self._connections):
            _shut(connection)
        self._connections.clear()

    def close(self) -> None:
        self.cut()
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            finally:
                self.process.kill()
                self.process.wait()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(FrameSocket(connection),), daemon=True).start()

    def _serve(self, peer: FrameSocket) -> None:
        try:
            first = peer.receive()
            if first is not None and first.type == "hello":
                self._serve_agent(peer, first)
            elif first is not None and first.type == "ticket" and first.header["ticket"] in self.attempts:
                self._serve_child(peer, self.attempts[first.header["ticket"]], first)
        except OSError:
            return  # the peer was killed, or the test cut the connection
        finally:
            _shut(peer.connection)

    def _serve_agent(self, peer: FrameSocket, hello: Frame) -> None:
        self.hellos.append(hello)
        if hello.header["secret"] not in (None, self.secret):
            return
        self.control = peer
        peer.send("welcome", secret=self.secret, isolation=self.isolation, variables=self.variables)
        while (frame := peer.receive()) is not None:
            if "ticket" in frame.header:
                self.attempts[frame.header["ticket"]].add(frame)
            else:
                self.frames.put(frame)

    def _serve_child(self, peer: FrameSocket, attempt: Attempt, ticket: Frame) -> None:
        attempt.add(ticket)
        attempt.peer = peer
        self._tell_work(peer, attempt)
        ticket_text = attempt.ticket
        try:
            while (frame := peer.receive()) is not None:
                attempt = self.attempts[ticket_text]
                attempt.add(frame)
                if frame.type in ("checkpoint", "load") and (answer := attempt.answer(attempt, frame)) is not None:
                    peer.send(answer.type, answer.body, **answer.header)
        finally:
            self.attempts[ticket_text].has_closed.set()

    @staticmethod
    def _tell_work(peer: FrameSocket, attempt: Attempt, **header: Any) -> None:
        peer.send(
            "start",
            attempt.payload,
            run_id=attempt.run_id,
            task=attempt.task,
            attempt=attempt.number,
            max_attempts=3,
            scope=attempt.run_id,
            **header,
        )
        for stored in attempt.stored:
            body = (stored.data or b"") + stored.carried
            fields = {"key": stored.key, "index": stored.index, "binds": stored.binds, "kind": stored.kind}
            data_bytes = None if stored.data is None else len(stored.data)
            peer.send("stored", body, **fields, codec=stored.codec, data_bytes=data_bytes)
        peer.send("go")


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is already closed
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def process_is_gone(pid: int) -> bool:
    """True if no process has this number; a zombie counts as one."""
    return not os.path.exists(f"/proc/{pid}")
