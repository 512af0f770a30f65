"""Time limits of the main thread: what they leave behind for the calling code."""

import signal
import time
from collections.abc import Callable, Iterator

import pytest
from trigger_sdk.run.deadlines import TimeLimitReached, call_within

arrived: list[float] = []


@pytest.fixture(autouse=True)
def _own_handler() -> Iterator[None]:
    arrived.clear()
    before = signal.signal(signal.SIGALRM, lambda *_: arrived.append(time.monotonic()))
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def wait_for_the_alarm() -> None:
    deadline = time.monotonic() + 10
    while not arrived and time.monotonic() < deadline:
        time.sleep(0.01)
    assert arrived


def nested() -> None:
    call_within(30, lambda: None, may_interrupt=lambda: True)


@pytest.mark.parametrize("function", [lambda: None, nested], ids=["plain", "nested"])
def test_alarm_that_the_caller_had_set_comes_at_its_time(function: Callable[[], None]) -> None:
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 0.3)

    call_within(60, function, may_interrupt=lambda: True)

    assert signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3
    wait_for_the_alarm()
    assert arrived[0] - started >= 0.29


def test_alarm_that_was_due_meanwhile_comes_when_the_limit_has_ended() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.01)

    with pytest.raises(TimeLimitReached):
        call_within(0.1, lambda: time.sleep(60), may_interrupt=lambda: True)

    wait_for_the_alarm()


def test_no_alarm_is_left_where_there_was_none() -> None:
    call_within(60, lambda: None, may_interrupt=lambda: True)

    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_of_two_limits_that_are_over_the_outer_one_wins() -> None:
    """Both have passed by the time raising is allowed."""
    allowed_at = time.monotonic() + 0.2
    reached: list[str] = []

    def inner() -> None:
        try:
            call_within(0.05, lambda: time.sleep(60), may_interrupt=lambda: time.monotonic() > allowed_at)
        except TimeLimitReached:
            reached.append("inner")
            raise

    with pytest.raises(TimeLimitReached):
        call_within(0.05, inner, may_interrupt=lambda: time.monotonic() > allowed_at)

    assert reached == []
