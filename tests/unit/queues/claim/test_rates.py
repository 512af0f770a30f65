"""Rate limits, checked against what they promise rather than against their own arithmetic."""

import random
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.queues.claim.rates import Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "interval", "burst"),
    [("100/m", 0.6, 10), ("1/s", 1.0, 1), ("9/h", 400.0, 1), ("20/d", 4320.0, 2), ("50/s", 0.02, 5)],
)
def test_text_says_interval_and_burst(text: str, interval: float, burst: int) -> None:
    assert parse_rate(text) == Rate(pytest.approx(interval), burst)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0/s",
        "10",
        "10/x",
        "10/min",
        "-1/s",
        "1.5/s",
        "10/s ",
        " 10/s",
        "1000000000/s",
        "\N{ARABIC-INDIC DIGIT ONE}/s",
    ],
)
def test_other_texts_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match="such as 100/m"):
        parse_rate(text)


def starts_of(rate: Rate, asks: list[tuple[float, int]]) -> list[float]:
    """The moments at which runs start where so many are wanted after each pause."""
    now, arrives_at, starts = 0.0, 0.0, []
    for pause, wanted in asks:
        now += pause
        count = min(wanted, rate.room(arrives_at - now))
        arrives_at = max(arrives_at, now) + count * rate.interval_seconds
        starts += [now] * count
    return starts


@given(
    st.sampled_from(["1/s", "7/s", "100/m", "30/m", "45/h"]),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=60),
)
def test_no_window_has_more_than_the_burst_and_its_share(text: str, asks: list[tuple[float, int]]) -> None:
    rate = parse_rate(text)

    starts = starts_of(rate, asks)

    for (first, begin), (last, end) in combinations(enumerate(starts), 2):
        assert last - first + 1 <= rate.burst + (end - begin) / rate.interval_seconds + 1e-6


def test_one_that_always_asks_gets_the_whole_rate() -> None:
    rate = parse_rate("100/m")

    starts = starts_of(rate, [(0.05, 10)] * 2400)

    assert len(starts) == pytest.approx(200 + rate.burst, abs=1)


def test_waiting_for_as_long_as_it_says_leaves_room() -> None:
    source = random.Random(7)
    for _ in range(200):
        rate = parse_rate(f"{source.randint(1, 500)}/{source.choice('smhd')}")
        ahead = source.uniform(0, 20) * rate.interval_seconds

        wait = rate.wait_seconds(ahead)

        assert rate.room(ahead - wait - 1e-9) >= 1
        assert wait == 0 or rate.room(ahead - wait + 1e-6 * rate.interval_seconds) == 0


@pytest.mark.parametrize(
    ("text", "count", "microseconds"),
    [("30/s", 1, 33_334), ("30/s", 3, 100_000), ("40/s", 1, 25_000), ("7/m", 2, 17_142_858)],
)
def test_charge_is_a_whole_number_of_microseconds_and_never_less_than_the_runs_cost(
    text: str, count: int, microseconds: int
) -> None:
    assert round(parse_rate(text).charge_seconds(count) * 1_000_000) == microseconds
