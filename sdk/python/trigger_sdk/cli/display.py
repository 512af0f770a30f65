"""How the command line shows things: compact text, coloured on a terminal, or one JSON value per line.

Any encoding of the output will do: what it does not have is written as an escape, in JSON too.
"""

import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

_COLOURS = {"grey": "90", "red": "31", "green": "32", "yellow": "33", "blue": "34", "bold": "1"}

_STATES = {
    "delayed": ("◷", "blue"),
    "pending": ("○", "blue"),
    "running": ("▶", "blue"),
    "retrying": ("↻", "yellow"),
    "waiting": ("◷", "blue"),
    "completed": ("✔", "green"),
    "dead_letter": ("✖", "red"),
    "discarded": ("✖", "grey"),
    "canceled": ("■", "grey"),
    "expired": ("■", "grey"),
}
_LEVELS = {"debug": "grey", "warning": "yellow", "error": "red"}


class Display:
    def __init__(self, stream: TextIO, *, is_json: bool) -> None:
        self.is_json = is_json
        self._stream = stream
        self._has_colour = stream.isatty() and "NO_COLOR" not in os.environ
        self._has_signs = _can_write(stream, "".join(sign for sign, _ in _STATES.values()))

    def value(self, value: Any) -> None:
        self._write(json.dumps(value, ensure_ascii=not self._has_signs))

    def text(self, text: str) -> None:
        self._write(text)

    def state(self, run: dict[str, Any], *, note: str = "") -> None:
        """One line about the run's current state."""
        self._write(f"{self.mark(run['state'])}  {note}".rstrip())

    def mark(self, state: str, width: int = 0) -> str:
        sign, colour = _STATES.get(state, ("?", "grey"))
        return self.paint(f"{sign} {state:<{width}}" if self._has_signs else f"{state:<{width}}", colour)

    def paint(self, text: str, colour: str | None) -> str:
        if not self._has_colour or colour is None:
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

    def log_line(self, line: dict[str, Any]) -> None:
        """Time, level, message and fields; a line printed without a logger has no level worth showing."""
        clock = self.paint(clock_of(line["logged_at"]), "grey")
        level = self.paint(f"{line['level']:<7}", _LEVELS.get(line["level"], "grey"))
        fields = " ".join(f"{name}={_short(value)}" for name, value in (line["fields"] or {}).items())
        self._write(f"{clock} {level} {printable(line['message'])} {self.paint(fields, 'grey')}".rstrip())

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Left-aligned columns; cells may contain colours."""
        widths = [max(len(_bare(cell)) for cell in column) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [cell + " " * (width - len(_bare(cell))) for cell, width in zip(row, widths, strict=True)]
            self._write("  ".join(cells).rstrip())

    def _write(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def accept_any_text(*streams: TextIO) -> None:
    """Makes the streams write what their encoding does not have as escapes, instead of raising UnicodeEncodeError."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def clock_of(moment: str) -> str:
    """The local time of day, to the millisecond."""
    return datetime.fromisoformat(moment).astimezone().strftime("%H:%M:%S.%f")[:-3]


def age_of(moment: str | None) -> str:
    if moment is None:
        return "-"
    return duration_text((datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds())


def duration_of(run: dict[str, Any]) -> str:
    """From the first start to the end, or until now, without the time as a dead letter before a requeue."""
    if run["started_at"] is None:
        return "-"
    end = datetime.fromisoformat(run["finished_at"]) if run["finished_at"] else datetime.now(UTC)
    seconds = (end - datetime.fromisoformat(run["started_at"])).total_seconds()
    return duration_text(seconds - run["dead_letter_seconds"])


def duration_text(seconds: float) -> str:
    seconds = max(0.0, seconds)
    for limit, size, unit in ((60, 1, "s"), (3_600, 60, "min"), (86_400, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} d"


def printable(text: str) -> str:
    """A task's text without control characters, which could take over the terminal."""
    return "".join(char if char in "\n\t" or char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _can_write(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text if len(text) <= 200 else text[:199] + "…")


def _bare(cell: str) -> str:
    """The cell without colours, for its width."""
    while "\x1b[" in cell:
        start = cell.index("\x1b[")
        cell = cell[:start] + cell[cell.index("m", start) + 1 :]
    return cell
