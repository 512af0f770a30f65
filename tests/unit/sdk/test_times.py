"""Times from outside: RFC 3339 and nothing else, in the years that are stored."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trigger_sdk.times import TimeRefused, check_time, read_time


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T08:00:00Z", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01t08:00:00z", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01T08:00:00.1234567+01:30", datetime(2026, 12, 1, 6, 30, 0, 123456, tzinfo=UTC)),
        ("2026-12-01T08:00:00-00:00", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01T08:00:00+14:00", datetime(2026, 11, 30, 18, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2100-12-31T23:59:59.999999Z", datetime(2100, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_rfc_3339_is_read_as_utc(text: str, moment: datetime) -> None:
    assert read_time(text) == moment
    assert read_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "infinity", "-infinity", "1764576000", 1764576000, 1.5, None, True, b"2026-12-01T08:00:00Z",
        "2026-12-01", "2026-12-01T08:00Z", "2026-12-01T08:00:00", "2026-12-01 08:00:00Z", "20261201T080000Z",
        "2026-W49-2T08:00:00Z", "2026-335T08:00:00Z", "2026-12-01T08:00:00+0100", "2026-12-01T08:00:00+01",
        "2026-12-01T08:00:00+14:01", "2026-12-01T08:00:00-15:00", "2026-12-01T08:00:00+00:00:01",
        "2026-12-01T08:00:60Z", "2026-12-01T24:00:00Z", "2026-02-29T08:00:00Z", "2026-13-01T08:00:00Z",
        "2026-12-01T08:00:00,5Z", "2026-12-01T08:00:00.Z", "2026-12-01T08:00:00Z BC", "2026-12-01T08:00:00Z\n",
        "\u0662026-12-01T08:00:00Z", "20000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
        "1999-12-31T23:59:59Z", "2101-01-01T00:00:00Z", "2000-01-01T00:00:00+00:01",
        "2026-12-01T08:00:00." + "1" * 13 + "Z",
    ],
)  # fmt: skip
def test_everything_else_is_refused_in_words(text: object) -> None:
    with pytest.raises(TimeRefused, match="must be"):
        read_time(text)


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(TimeRefused):
        assert 2000 <= read_time(text).year <= 2100


@pytest.mark.parametrize(
    "moment",
    [
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime(2026, 1, 1),  # noqa: DTZ001 - refused for it
    ],
)
def test_time_objects_have_the_same_bounds(moment: datetime) -> None:
    with pytest.raises(TimeRefused):
        check_time(moment)
