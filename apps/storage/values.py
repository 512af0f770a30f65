"""The single check of values entering the database: JSON text that can be stored, restored and shown.

The rules are those of `trigger_sdk.values.strict_json`, which names the path of what is refused. Most values pass a
scan in C; only the others are passed to that module.
"""

from __future__ import annotations

import json
import re
from itertools import accumulate

import msgspec
from trigger_sdk.values import codec

MAX_BYTES = codec.MAX_VALUE_BYTES
MAX_DEPTH = codec.MAX_DEPTH

# Possessive, and accepts the end of the text: an unterminated string must not cost quadratic time.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = bytes(1 if byte in b"[{" else 255 for byte in range(256))
"""One level up or, read as a signed byte, one down."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


class ValueRefused(Exception):
    """`code` is too_large or invalid; `message` continues a sentence that starts with the name of what is refused."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def check_value(raw: bytes, *, max_bytes: int = MAX_BYTES) -> None:
    """Raises ValueRefused for text that is not JSON, over `max_bytes`, nested over 64 levels deep, or that contains
    NUL, lone surrogates, NaN, a duplicate key in an object or an integer of over 4,300 digits."""
    if len(raw) > max_bytes:
        raise ValueRefused("too_large", f"has {len(raw):,} bytes; the limit is {max_bytes:,}")
    if nesting(raw) > MAX_DEPTH:
        raise ValueRefused("invalid", f"is nested deeper than {MAX_DEPTH} levels")
    if b"\\u0000" not in raw and _is_written_again(raw):
        return
    try:
        codec.parse_payload(raw, max_bytes=max_bytes)
    except codec.MalformedJson as error:
        raise ValueRefused("invalid", f"is not JSON: {error}") from None
    except codec.CodecError as error:
        raise ValueRefused("invalid", f"cannot be stored: {error}") from None


def nesting(raw: bytes) -> int:
    """Returns the nesting depth, up to `MAX_DEPTH` only an upper bound: 1 for a list of numbers, 0 for a number."""
    # Without that many brackets it cannot be too deep, and most values have few.
    if (count := raw.count(b"[") + raw.count(b"{")) <= MAX_DEPTH:
        return count
    brackets = _STRING.sub(b"", raw).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(brackets).cast("b")), default=0)


def _is_written_again(raw: bytes) -> bool:
    """Whether a reader and a writer in C reproduce the very same text: a duplicate key would be missing, and a long
    integer or half a surrogate pair changed. Other spellings (`1e5`, blanks) prove nothing."""
    try:
        return _encode(_decode(raw)) == raw
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return False


def readable(text: str) -> str:
    """Returns the text with anything nested deeper than `MAX_DEPTH` replaced by NaN, which no stored value contains.

    Older versions stored deeper values, on which Python's parser and the drawing of a page would fail.
    """
    raw = text.encode("utf-8", "surrogatepass")
    return text if nesting(raw) <= MAX_DEPTH else _cut(text)


def _cut(text: str) -> str:
    parts: list[str] = []
    depth = kept_from = 0
    for token in _STRUCTURE.finditer(text):
        mark = token.group()
        if mark in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts += [text[kept_from : token.start()], "NaN"]
        elif mark in ("]", "}"):
            depth -= 1
            if depth == MAX_DEPTH:
                kept_from = token.end()
    return "".join([*parts, text[kept_from:]])


def storable_fields(raw: bytes | None) -> str | None:
    """Returns a log line's fields as JSON text, or the reason why they cannot be stored, so that the line is kept."""
    if raw is None:
        return None
    try:
        check_value(raw)
    except ValueRefused as refused:
        return json.dumps({"unreadable": f"A value of this line was left out: it {refused.message}."})
    return raw.decode()
