"""Reads times that come from outside: RFC 3339 with an offset, in the years that the system stores."""

import re
from datetime import UTC, datetime

FIRST_YEAR, LAST_YEAR = 2000, 2100
FORM = "an RFC 3339 time with an offset, such as 2026-12-01T08:00:00Z"
TEXT_MAX_CHARACTERS = 40
SHOWN_CHARACTERS = 60

_FIRST = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)
_END = datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)

# Section 5.6: the letters in either case, no space for the T. `fromisoformat` alone takes weeks, ordinals and more.
_RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,12})?(?:Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))\Z",
    re.ASCII | re.IGNORECASE,
)


class TimeRefused(ValueError):
    """A time that is not accepted; the text says what is."""


def read_time(text: object) -> datetime:
    """The time in UTC, with digits beyond microseconds cut off. Raises TimeRefused for anything but RFC 3339 text,
    and for offsets beyond 14:00, leap seconds, and years outside 2000 to 2100."""
    if not isinstance(text, str):
        raise TimeRefused(f"must be {FORM}")
    if len(text) > TEXT_MAX_CHARACTERS or not _RFC_3339.match(text):
        raise TimeRefused(f"must be {FORM}, not {text[:SHOWN_CHARACTERS]!r}")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise TimeRefused(f"must be {FORM}, not {text!r}: {error}") from None
    return check_time(moment)


def check_time(moment: datetime) -> datetime:
    """The same time in UTC; raises TimeRefused if it has no time zone or is outside the years 2000 to 2100."""
    if moment.utcoffset() is None:
        raise TimeRefused("has no time zone")
    # Compared before converting: near the ends of the calendar the conversion overflows.
    if not _FIRST <= moment < _END:
        raise TimeRefused(f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    return moment.astimezone(UTC)
