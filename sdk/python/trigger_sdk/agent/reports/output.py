"""What a run prints: lines from the raw pipes, a run's `sys.stdout` and `sys.stderr`, `logging`, and their caps.

Knows nothing about sockets: everything goes to a function `emit(...)` that the caller provides.
"""

import contextlib
import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

LINE_MAX_BYTES = 64 * 1024
CUT_NOTE_BYTES = 40
LOG_MAX_BYTES = 10 * 1024 * 1024
LOG_MAX_LINES = 50_000

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def now_text() -> str:
    """The current time as RFC 3339 in UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def clean_text(text: str, *, max_bytes: int = LINE_MAX_BYTES) -> str:
    """Text that Postgres can store: no NUL, no lone surrogate; whatever is over the limit is cut and counted.

    The limit includes the count, so that nobody on the way cuts it off again.
    """
    data = text.replace("\0", REPLACEMENT).encode("utf-8", "surrogatepass")
    if len(data) > max_bytes:
        kept = data[: max_bytes - CUT_NOTE_BYTES].decode("utf-8", "ignore")
        return f"{kept} … [{len(data) - max_bytes + CUT_NOTE_BYTES:,} bytes cut]"
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return text.replace("\0", REPLACEMENT).encode("utf-8", "replace").decode("utf-8")


def plain_fields(fields: dict[str, Any]) -> Any:
    """The fields of a log line as JSON that can be stored; what JSON cannot express is shown by its `repr`."""
    try:
        text = json.dumps(fields, default=repr, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps({str(name): repr(value) for name, value in fields.items()})
    if len(text) > LINE_MAX_BYTES:
        return {"cut": f"fields of {len(text)} bytes are over the limit of {LINE_MAX_BYTES}"}
    if "\\u0000" in text or "\\ud" in text:
        return _clean(json.loads(text))
    return json.loads(text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return {clean_text(name): _clean(item) for name, item in value.items()} if isinstance(value, dict) else value


class LogCap:
    """Counts what a run writes and decides when to start dropping it."""

    def __init__(self, max_bytes: int = LOG_MAX_BYTES, max_lines: int = LOG_MAX_LINES) -> None:
        self._bytes_left = max_bytes
        self._lines_left = max_lines
        self._is_over = False
        self.dropped_lines = 0
        self.dropped_bytes = 0

    def admits(self, size_bytes: int) -> bool:
        if self._lines_left > 0 and self._bytes_left >= size_bytes and not self._is_over:
            self._lines_left -= 1
            self._bytes_left -= size_bytes
            return True
        self._is_over = True
        self.dropped_lines += 1
        self.dropped_bytes += size_bytes
        return False

    def take_report(self) -> dict[str, Any] | None:
        """What a `log` frame says about the lines dropped since the last report; None if there are none.

        The message is for an older worker.
        """
        if not self.dropped_lines:
            return None
        lines, size = self.dropped_lines, self.dropped_bytes
        self.dropped_lines = self.dropped_bytes = 0
        message = f"Output cut here: {lines} more lines ({size} bytes) over the limit."
        return {"message": message, "dropped_lines": lines, "dropped_bytes": size}


class LineSplitter:
    """Splits a stream of bytes into lines of text; a line over the limit comes in pieces, each of whole characters."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterable[str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from map(_text, _pieces(line))
        if len(self._rest) > LINE_MAX_BYTES:
            *pieces, self._rest = _pieces(self._rest)
            yield from map(_text, pieces)

    def finish(self) -> Iterable[str]:
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    pieces = []
    start = 0
    while len(line) - start > LINE_MAX_BYTES:
        end = start + LINE_MAX_BYTES
        # A UTF-8 character has up to three bytes after its first.
        cut = next((place for place in range(end, end - 4, -1) if line[place] & 0xC0 != 0x80), end)
        pieces.append(line[start:cut])
        start = cut
    return [*pieces, line[start:]]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace").replace("\0", REPLACEMENT)


class LogStream(io.TextIOBase):
    """`sys.stdout` or `sys.stderr` of a run: emits each complete line, in the order of the writes.

    `.buffer` and `.fileno()` give the raw descriptor; its lines go through the agent, in no fixed order with these.
    """

    def __init__(self, descriptor: int, emit: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._emit = emit
        self._rest = ""
        self._lock = threading.RLock()
        self.buffer = open(descriptor, "wb", buffering=0, closefd=False)  # noqa: SIM115 - lives as long as the run

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            if len(self._rest) > LINE_MAX_BYTES:
                lines.append(self._rest)
                self._rest = ""
            for line in lines:
                self._emit_pieces(line)
        return len(text)

    def finish(self) -> None:
        """Emits what is left after the last newline."""
        with self._lock:
            rest, self._rest = self._rest, ""
            if rest:
                self._emit_pieces(rest)

    def _emit_pieces(self, line: str) -> None:
        # A character takes up to four bytes, so a quarter of the limit in characters always fits.
        size = LINE_MAX_BYTES if len(line) * 4 <= LINE_MAX_BYTES or line.isascii() else LINE_MAX_BYTES // 4
        for start in range(0, len(line) or 1, size):
            self._emit(line[start : start + size].removesuffix("\r"))


class LogHandler(logging.Handler):
    """Passes `logging` records on as log lines of the run, with the logger's name as a field."""

    def __init__(self, emit: Callable[[str, str, dict[str, Any]], None]) -> None:
        super().__init__()
        self._emit_line = emit

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = "debug" if record.levelno < logging.INFO else _LEVELS.get(record.levelno // 10 * 10, "error")
            self._emit_line(level, self.format(record), {"logger": record.name})
        except Exception:  # a wrong format string must not fail the run; logging reports it on stderr
            self.handleError(record)


_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "error"}


def capture_logging(handler: LogHandler) -> None:
    """Puts `handler` in the root logger, replacing handlers that write to the process's own stdout or stderr."""
    root = logging.getLogger()
    if not root.handlers and root.level == logging.WARNING:
        root.setLevel(logging.INFO)
    for present in list(root.handlers):
        if isinstance(present, logging.StreamHandler) and _is_standard(present.stream):
            root.removeHandler(present)
    root.addHandler(handler)


def flush_logging() -> None:
    """Flushes handlers as `logging.shutdown` does, but keeps them open."""
    for reference in reversed(logging._handlerList):  # type: ignore[attr-defined]  # noqa: SLF001 - as `shutdown` itself
        handler = reference()
        if handler is not None:
            with contextlib.suppress(OSError, ValueError):  # its stream is closed: there is nothing to flush
                handler.flush()


def _is_standard(stream: Any) -> bool:
    try:
        return stream.fileno() in (1, 2)
    except (AttributeError, OSError, ValueError):
        return False


def drain(descriptor: int, *, limit_bytes: int = 256 * 1024) -> bytes | None:
    """The present content of a non-blocking pipe: empty bytes if nothing, None at its end."""
    try:
        return os.read(descriptor, limit_bytes) or None
    except BlockingIOError:
        return b""
