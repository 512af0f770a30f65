"""Reads JSON text strictly and safely, refusing what Postgres or another language would read differently.

Knows nothing about the codec's `$type` forms. Malformed text raises MalformedJson; JSON that is not acceptable raises
a CodecError with the path. Nesting is measured before parsing, so hostile depth never reaches the parser.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from trigger_sdk.errors import (
    CodecError,
    DuplicateKey,
    IntegerTooLong,
    MalformedJson,
    NotFinite,
    TextRefused,
    TooDeep,
    TooLarge,
)

MAX_DEPTH = 64
MAX_VALUE_BYTES = 3_000_000
MAX_INTEGER_DIGITS = 4_300
"""CPython's default limit for converting text to an integer."""

_PLAIN_KEY = re.compile(r"[^\W\d]\w*\Z")
# Possessive, and also matches at the end of the text: a string that never ends must not cost quadratic time.
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
# Tried only at the first digit: trying each one would cost thousands of times more for many runs just below the limit.
_LONG_DIGITS = re.compile(rb"(?<!\d)\d{%d}" % (MAX_INTEGER_DIGITS + 1))


def parse_payload(text: bytes, *, max_depth: int = MAX_DEPTH, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """The value of plain UTF-8 JSON text of at most 3 MB. Raises MalformedJson (not JSON) or CodecError (JSON, but
    with NUL, lone surrogates, NaN, Infinity, duplicate keys, integers over 4,300 digits or depth over 64)."""
    if len(text) > max_bytes:
        raise TooLarge("$", f"{len(text):,} bytes are over the limit of {max_bytes:,}")
    try:
        source = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJson(f"byte {error.start} is not UTF-8") from None
    if text.count(b"[") + text.count(b"{") > max_depth:
        _check_depth(source, max_depth)
    reader = _Reader()
    has_long_digits = _LONG_DIGITS.search(text) is not None
    try:
        value = json.loads(
            source,
            object_pairs_hook=reader.object,
            parse_float=reader.float,
            parse_constant=reader.constant,
            parse_int=reader.int if has_long_digits else None,
        )
    except json.JSONDecodeError as error:
        raise MalformedJson(error.msg, line=error.lineno, column=error.colno) from None
    if reader.is_refused or b"\\u0000" in text or _SURROGATE_ESCAPE.search(text):
        _refuse_first(value)
    return value


def text_problem(text: str) -> str | None:
    """Why a string cannot be stored, or None."""
    if "\0" in text:
        return "the text contains the NUL character, which cannot be stored"
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            return "the text contains a lone surrogate, which cannot be stored"
    return None


def path_of(segments: list[str | int]) -> str:
    """`$.order.items[0]["odd key"]` for the keys and indices from the root."""
    parts = ["$"]
    for segment in segments:
        if isinstance(segment, int):
            parts.append(f"[{segment}]")
        elif _PLAIN_KEY.match(segment):
            parts.append(f".{segment}")
        else:
            parts.append(f"[{json.dumps(segment)}]")
    return "".join(parts)


class _Bad:
    """Takes the place of a refused value in the parsed result, until the walk that knows the path finds it."""

    def __init__(self, error: type[CodecError], message: str) -> None:
        self.error = error
        self.message = message


class _Reader:
    """Hooks of one parse. They do not know the path, so they leave a mark."""

    def __init__(self) -> None:
        self.is_refused = False

    def object(self, pairs: list[tuple[str, Any]]) -> Any:
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return self._bad(DuplicateKey, f"the key {twice!r} appears here twice")

    def float(self, text: str) -> Any:
        value = float(text)
        return value if math.isfinite(value) else self._bad(NotFinite, f"{text[:40]} is beyond the range of a float")

    def constant(self, text: str) -> Any:
        return self._bad(NotFinite, f"{text} is not JSON")

    def int(self, text: str) -> Any:
        if len(text.lstrip("-")) > MAX_INTEGER_DIGITS:
            return self._bad(IntegerTooLong, f"an integer of more than {MAX_INTEGER_DIGITS:,} digits")
        return int(text)

    def _bad(self, error: type[CodecError], message: str) -> _Bad:
        self.is_refused = True
        return _Bad(error, message)


def _refuse_first(value: Any) -> None:
    for segments, item in _walk(value, []):
        if isinstance(item, _Bad):
            raise item.error(path_of(segments), item.message)
        if isinstance(item, str) and (problem := text_problem(item)):
            raise TextRefused(path_of(segments), problem)


def _walk(value: Any, segments: list[str | int]) -> Iterator[tuple[list[str | int], Any]]:
    """Every value and every key below `value`, depth first, each with its path; the list is reused."""
    yield segments, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield segments, key
            yield from _walk(item, [*segments, key])
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, [*segments, index])


def _check_depth(source: str, max_depth: int) -> None:
    depth = 0
    for token in _STRUCTURE.finditer(source):
        mark = token.group()
        if mark in "[{":
            depth += 1
            if depth > max_depth:
                _refuse_depth(source, token.start(), max_depth)
        elif mark in "]}":
            depth -= 1


def _refuse_depth(source: str, end: int, max_depth: int) -> NoReturn:
    open_containers: list[str | int | None] = []
    latest = ""
    for token in _STRUCTURE.finditer(source, 0, end):
        mark = token.group()
        if mark in "[{":
            if open_containers and open_containers[-1] is None:
                open_containers[-1] = _text(latest)
            open_containers.append(0 if mark == "[" else None)
        elif mark in "]}":
            if open_containers:
                open_containers.pop()
        elif mark == ",":
            if open_containers:
                index = open_containers[-1]
                open_containers[-1] = index + 1 if isinstance(index, int) else None
        else:
            latest = mark
    if open_containers and open_containers[-1] is None:
        open_containers[-1] = _text(latest)
    path = path_of([segment for segment in open_containers if segment is not None])
    raise TooDeep(path, f"values are nested more than {max_depth} levels deep")


def _text(token: str) -> str:
    try:
        return str(json.loads(token))
    except ValueError:
        return token
