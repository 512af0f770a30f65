"""Identifiers: UUIDv7 inside, a prefix and 26 Crockford base32 letters outside. Owns no rows."""

import os
import time
from uuid import UUID

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LETTER_COUNT = 26
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}


def uuid7() -> UUID:
    """A time-ordered UUID: 48 bits of Unix milliseconds, then 74 random bits (RFC 9562, section 5.7)."""
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76
    value |= (random_bits >> 68) << 64
    value |= 0b10 << 62
    value |= random_bits & (2**62 - 1)
    return UUID(int=value)


def public_id(prefix: str, identifier: UUID) -> str:
    """`run_0…`: the form that people and APIs see."""
    value = identifier.int
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def parse_public_id(prefix: str, text: str) -> UUID | None:
    """The UUID behind a public id; None where the text is not one of that prefix."""
    head, separator, letters = text.partition("_")
    if head != prefix or not separator or len(letters) != LETTER_COUNT:
        return None
    value = 0
    for letter in letters:
        if letter not in _VALUES:
            return None
        value = value << 5 | _VALUES[letter]
    return UUID(int=value) if value < 2**128 else None
