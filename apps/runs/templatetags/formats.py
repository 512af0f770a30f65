"""Template filters that format values, and nothing else. `static/js/clock.js` formats durations and ages alike."""

from collections.abc import Sequence
from datetime import datetime

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.runs.ansi import Piece, pieces
from apps.storage import times

register = template.Library()

MINUTE, HOUR, DAY = 60, 3600, 86_400
AGE_UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s"))
SPRITE = "vendor/lucide-1.62.0/sprite.svg"
NOTHING = "\N{EN DASH}"
UNREADABLE_TIME = "unreadable time"
BYTE_UNITS = ("B", "KB", "MB", "GB")


@register.filter
def duration(seconds: float | None) -> str:
    """`412 ms`, `1.24 s`, `3 min 12 s`, `2 h 04 min`, `3 d 4 h`."""
    if seconds is None:
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE:02d} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


@register.filter
def offset(seconds: float) -> str:
    """A place on an axis: as short as it can be, `0`, `250 ms`, `1.5 s`, `2 min`."""
    if seconds == 0:
        return "0"
    if seconds < 1:
        return f"{seconds * 1000:g} ms"
    if seconds < MINUTE:
        return f"{seconds:g} s"
    if seconds < HOUR:
        rest = f" {int(seconds % MINUTE)} s" if seconds % MINUTE else ""
        return f"{int(seconds // MINUTE)} min{rest}"
    rest = f" {int(seconds % HOUR // MINUTE)} min" if seconds % HOUR else ""
    return f"{int(seconds // HOUR)} h{rest}"


@register.filter
def is_unreadable(at: datetime | None) -> bool:
    """Whether a time is stored that no calendar here has."""
    return at is not None and times.is_unreadable(at)


@register.filter
def age(at: datetime | None) -> str:
    """`just now`, `12 s ago`, `3 min ago`, `in 4 s`."""
    if at is None:
        return NOTHING
    if times.is_unreadable(at):
        return UNREADABLE_TIME
    seconds = int((timezone.now() - at).total_seconds())
    if abs(seconds) < 2:
        return "just now"
    unit_seconds, unit = next((length, name) for length, name in AGE_UNITS if abs(seconds) >= length)
    count = abs(seconds) // unit_seconds
    return f"{count} {unit} ago" if seconds > 0 else f"in {count} {unit}"


@register.filter
def instant(at: datetime) -> str:
    """RFC 3339 with microseconds, for `datetime` attributes and titles."""
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@register.filter
def clock(at: datetime) -> str:
    """The time of day in UTC with milliseconds, for log lines; the browser shows it in the viewer's zone."""
    if times.is_unreadable(at):
        return UNREADABLE_TIME
    return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"


@register.filter
def percent(value: float) -> str:
    """A place or length for an SVG attribute."""
    return f"{value:.3f}%"


@register.filter
def byte_size(count: int | None) -> str:
    """`37 B`, `1.2 KB`, `3.0 MB` (powers of 1,000, as the limits count)."""
    if count is None:
        return NOTHING
    size, unit = float(count), BYTE_UNITS[0]
    for unit in BYTE_UNITS:
        if size < 1000 or unit == BYTE_UNITS[-1]:
            break
        size /= 1000
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


@register.filter
def ansi(line: str) -> Sequence[Piece]:
    """A log line's pieces with the classes of their style."""
    return pieces(line)


@register.simple_tag
def icon(name: str, modifier: str = "") -> SafeString:
    """A symbol of the sprite; it carries no meaning of its own, a word stands beside it."""
    classes = f"icon {modifier}".rstrip()
    return format_html(
        '<svg class="{}" width="16" height="16" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        static(SPRITE),
        name,
    )
