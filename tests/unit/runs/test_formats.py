from datetime import UTC, datetime

import pytest

from apps.runs.templatetags.formats import byte_size, clock, duration, instant, offset


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.412, "412 ms"),
        (1.236, "1.24 s"),
        (42.04, "42.0 s"),
        (192, "3 min 12 s"),
        (7440, "2 h 04 min"),
        (273_600, "3 d 4 h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0"), (0.25, "250 ms"), (1.5, "1.5 s"), (150, "2 min 30 s"), (7200, "2 h")]
)
def test_offset(seconds: float, shown: str) -> None:
    assert offset(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(37, "37 B"), (1234, "1.2 KB"), (3_000_000, "3.0 MB"), (999, "999 B")])
def test_byte_size(count: int, shown: str) -> None:
    assert byte_size(count) == shown


def test_instants_are_exact() -> None:
    at = datetime(2026, 3, 1, 12, 0, 5, 120_004, tzinfo=UTC)

    assert instant(at) == "2026-03-01T12:00:05.120004Z"
    assert clock(at) == "12:00:05.120"
