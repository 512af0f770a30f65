"""Time limits of the main thread: when they are raised, and what they leave behind for the calling code."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from trigger_sdk.run import deadlines, timers
from trigger_sdk.run.deadlines import Deadline, TimeLimitReached, call_within, raise_held_back

arrived: list[float] = []


@pytest.fixture(autouse=True, params=["best", "alarm"])
def timer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The system's best timer, and the one that every system has."""
    monkeypatch.setattr(deadlines, "_timer", timers.Alarm() if request.param == "alarm" else None)
    return str(request.param)


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


def takes_the_alarm(seconds: float) -> str:
    """What decorators for time limits do around a call."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(1)
    signal.alarm(0)
    time.sleep(seconds)
    return "never timed out"


def test_code_that_uses_the_alarm_itself_does_not_switch_the_limit_off(timer: str) -> None:
    """The kernel's timer ends the sleep; the alarm is gone, so the limit is noticed when the call returns."""
    seconds = 60 if timer == "best" and sys.platform == "linux" else 0.2

    with pytest.raises(TimeLimitReached):
        call_within(0.1, lambda: takes_the_alarm(seconds), may_interrupt=lambda: True)


def test_result_that_comes_too_late_is_a_limit_that_was_reached() -> None:
    with pytest.raises(TimeLimitReached):
        call_within(0.01, lambda: time.sleep(0.05), may_interrupt=lambda: False)


def test_code_that_passes_over_the_limit_has_still_reached_it() -> None:
    def stubborn() -> str:
        try:
            time.sleep(60)
        except BaseException:
            return "went on"
        return "slept"

    with pytest.raises(TimeLimitReached):
        call_within(0.05, stubborn, may_interrupt=lambda: True)


def test_limit_that_comes_again_ends_one_thing_after_the_other() -> None:
    ended: list[int] = []

    def three() -> None:
        for number in range(3):
            try:
                time.sleep(60)
            except BaseException:
                ended.append(number)

    with pytest.raises(TimeLimitReached):
        call_within(Deadline(0.05, again_seconds=0.05), three, may_interrupt=lambda: True)

    assert ended == [0, 1, 2]


def test_limit_can_be_moved_closer_while_it_runs() -> None:
    deadline = Deadline(3600)
    signal.signal(signal.SIGUSR1, lambda *_: deadline.move(0))

    def call() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(60)

    with pytest.raises(TimeLimitReached):
        call_within(deadline, call, may_interrupt=lambda: True)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_forked_process_has_limits_of_its_own() -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            try:
                call_within(0.05, lambda: time.sleep(60), may_interrupt=lambda: True)
            except TimeLimitReached:
                os._exit(5)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert call_within(60, fork, may_interrupt=lambda: True) == 5


def test_system_without_kernel_timers_uses_the_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(timer: timers.KernelTimer) -> None:
        raise OSError(11, "timer_create: Resource temporarily unavailable")

    monkeypatch.setattr(timers.KernelTimer, "_create", refuse)
    monkeypatch.setattr(deadlines, "_timer", None)

    with pytest.raises(TimeLimitReached):
        call_within(0.05, lambda: time.sleep(60), may_interrupt=lambda: True)

    assert isinstance(deadlines._timer, timers.Alarm)


def test_code_that_is_always_protected_is_ended_between_two_of_its_protected_parts() -> None:
    is_protected = False

    def work() -> None:
        nonlocal is_protected
        while True:
            is_protected = True
            time.sleep(0.02)
            is_protected = False
            raise_held_back()

    with pytest.raises(TimeLimitReached):
        call_within(0.05, work, may_interrupt=lambda: not is_protected)


def test_nothing_held_back_is_nothing_raised() -> None:
    assert call_within(60, lambda: [raise_held_back()], may_interrupt=lambda: True) == [None]
