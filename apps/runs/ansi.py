"""Colours in log lines: turns terminal escape sequences into styled pieces of text. Knows nothing about HTML."""

import re
from dataclasses import dataclass

# CSI sequences (ECMA-48, 5.4), OSC strings up to their terminator, and two-character escapes.
SEQUENCE = re.compile(
    r"\x1b\[(?P<parameters>[0-?]*)[ -/]*(?P<final>[@-~])|\x1b\].*?(?:\x07|\x1b\\|$)|\x1b[@-Z\\-_]", re.DOTALL
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
ATTRIBUTES = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
ENDED_BY = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}}


@dataclass(frozen=True, slots=True)
class Piece:
    """Text with the class names of its style, such as `ansi-red ansi-bold`; empty for plain text."""

    text: str
    classes: str = ""


def pieces(line: str) -> list[Piece]:
    """The line split where its style changes; every other escape sequence and control character is dropped."""
    if "\x1b" not in line:
        return [Piece(CONTROL.sub("", line))]
    found: list[Piece] = []
    colour, attributes, position = "", set[str](), 0
    for match in SEQUENCE.finditer(line):
        _append(found, line[position : match.start()], colour, attributes)
        position = match.end()
        if match["final"] == "m":
            colour, attributes = _restyled(match["parameters"], colour, attributes)
    _append(found, line[position:], colour, attributes)
    return found


def _append(found: list[Piece], text: str, colour: str, attributes: set[str]) -> None:
    text = CONTROL.sub("", text)
    if text:
        names = ([colour] if colour else []) + sorted(attributes)
        found.append(Piece(text, " ".join(f"ansi-{name}" for name in names)))


def _restyled(parameters: str, colour: str, attributes: set[str]) -> tuple[str, set[str]]:
    codes = iter([int(part) if part.isdigit() and len(part) < 4 else 0 for part in parameters.split(";")])
    for code in codes:
        if code == 0:
            colour, attributes = "", set()
        elif code in ATTRIBUTES:
            attributes = attributes | {ATTRIBUTES[code]}
        elif code in ENDED_BY:
            attributes = attributes - ENDED_BY[code]
        elif 30 <= code <= 37 or 90 <= code <= 97:
            colour = NAMES[code % 10]
        elif code == 39:
            colour = ""
        elif code in (38, 48):
            # An indexed or true colour: its numbers must not be read as separate codes.
            for _ in range({5: 1, 2: 3}.get(next(codes, 0), 0)):
                next(codes, None)
    return colour, attributes
