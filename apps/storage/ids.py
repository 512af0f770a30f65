"""Identifiers: UUIDv7 internally, a prefix and 26 Crockford base32 letters in public. Owns no rows."""

import os
import threading
import time
from uuid import UUID

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LETTER_COUNT = 26
CLOCK_BACK_MILLISECONDS = 10_000
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}


class _Clock:
    """Makes 60-bit stamps, Unix milliseconds and 1/4096 of one, each greater than the last."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def stamp(self) -> int:
        milliseconds, rest = divmod(time.time_ns(), 1_000_000)
        now = (milliseconds & (2**48 - 1)) << 12 | rest * 4096 // 1_000_000
        with self._lock:
            # If the clock was set back by more than that, its new time is accepted.
            if self._last - now < CLOCK_BACK_MILLISECONDS << 12:
                now = max(now, self._last + 1)
            self._last = now
        return now


_clock = _Clock()


def uuid7() -> UUID:
    """Makes a time-ordered UUID, greater than all this process made before: 48 bits of Unix milliseconds, 12 bits of
    their fraction, 62 random bits (RFC 9562, sections 5.7 and 6.2, method 3)."""
    stamp = _clock.stamp()
    value = (stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62
    return UUID(int=value | int.from_bytes(os.urandom(8)) >> 2)


def public_id(prefix: str, identifier: UUID) -> str:
    """Returns the form that people and APIs see, such as `run_0…`."""
    value = identifier.int
    pairs = [_PAIRS[(value >> shift) & 1023] for shift in range(120, -1, -10)]
    return f"{prefix}_{''.join(pairs)}"


def parse_public_id(prefix: str, text: str) -> UUID | None:
    """Returns the UUID of a public id; None if the text is not one with that prefix."""
    head, separator, letters = text.partition("_")
    if head != prefix or not separator or len(letters) != LETTER_COUNT:
        return None
    value = 0
    for letter in letters:
        if letter not in _VALUES:
            return None
        value = value << 5 | _VALUES[letter]
    return UUID(int=value) if value < 2**128 else None
