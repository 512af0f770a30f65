"""The loops over ticks: a failing tick is isolated, a slow one delays no other lane, and a stop ends all at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from trigger_site.coordinator import runner
from trigger_site.coordinator.runner import LaneRunner, Runner
from trigger_site.coordinator.ticks import TICKS, Lane, Tick

DEADLINE_SECONDS = 60.0


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself is under test; it closes connections of ticks that had some."""

    @contextmanager
    def no_timeout(seconds: float) -> Iterator[None]:
        yield

    monkeypatch.setattr(runner, "close_old_connections", lambda: None)
    monkeypatch.setattr(runner, "statement_timeout", no_timeout)


def lane_of(*ticks: Tick) -> LaneRunner:
    """All of them in one lane that nothing stops."""
    return LaneRunner(ticks, threading.Event())


def note(seen: list[str], name: str) -> Callable[[], bool]:
    """A tick that notes its name and has no more to do."""

    def step() -> bool:
        seen.append(name)
        return False

    return step


def fail() -> bool:
    raise RuntimeError("this tick always fails")


def test_one_pass_runs_every_tick_once() -> None:
    seen: list[str] = []
    ticks = [Tick(name, Lane.SLOW, 1.0, note(seen, name)) for name in ("a", "b")]

    Runner(ticks).run_once()

    assert seen == ["a", "b"]


def test_failing_tick_hides_no_other_and_backs_off(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    loop = lane_of(Tick("bad", Lane.SLOW, 1.0, fail), Tick("good", Lane.SLOW, 1.0, note(seen, "good")))

    gaps = []
    for _ in range(8):
        before = time.monotonic()
        loop.run_once()
        gaps.append(loop._dues[0].at - before)

    assert seen == ["good"] * 8
    assert loop._dues[0].failure_count == 8
    assert [round(gap) for gap in gaps[:4]] == [2, 4, 8, runner.BACKOFF_MAX_SECONDS]
    assert max(gaps) < runner.BACKOFF_MAX_SECONDS + 1
    assert "ticks.fail tick=bad" in caplog.text


def test_success_ends_the_back_off() -> None:
    outcomes = iter([RuntimeError(), RuntimeError(), None])

    def step() -> bool:
        if (error := next(outcomes)) is not None:
            raise error
        return False

    loop = lane_of(Tick("t", Lane.SLOW, 1.0, step))
    for _ in range(3):
        loop.run_once()

    assert loop._dues[0].failure_count == 0


def test_tick_with_more_to_do_runs_again_at_once() -> None:
    left = [3]
    finished = threading.Event()

    def step() -> bool:
        left[0] -= 1
        if not left[0]:
            finished.set()
        return left[0] > 0

    loop = Runner([Tick("t", Lane.SLOW, 3600.0, step)])
    loop.start()

    assert finished.wait(DEADLINE_SECONDS)
    loop.stop()
    loop.join(DEADLINE_SECONDS)
    assert loop.has_ended
    assert left == [0]


def test_stop_ends_a_sleeping_loop() -> None:
    ran = threading.Event()
    seen: list[str] = []

    def step() -> bool:
        ran.set()
        return note(seen, "t")()

    loop = Runner([Tick("t", Lane.SLOW, 3600.0, step)])
    loop.start()
    assert ran.wait(DEADLINE_SECONDS)

    loop.stop()

    loop.join(DEADLINE_SECONDS)
    assert loop.has_ended
    assert seen == ["t"]


def test_stop_before_the_start_runs_nothing() -> None:
    seen: list[str] = []
    loop = Runner([Tick("t", Lane.SLOW, 1.0, note(seen, "t"))])
    loop.stop()

    loop.start()
    loop.join(DEADLINE_SECONDS)

    assert loop.has_ended
    assert seen == []


def test_slow_tick_delays_no_other_lane() -> None:
    """Were they one loop, leases would not end while something is cleaned up, and the pulse would tell of an outage."""
    going_on, enough = threading.Event(), threading.Event()
    counts = {Lane.PULSE: 0, Lane.LEASES: 0, Lane.QUEUE: 0}

    def clean_up() -> bool:
        assert going_on.wait(DEADLINE_SECONDS)
        return False

    def step_of(lane: Lane) -> Callable[[], bool]:
        def step() -> bool:
            counts[lane] += 1
            if min(counts.values()) >= 20:
                enough.set()
            return not enough.is_set()

        return step

    loop = Runner(
        [Tick("slow", Lane.SLOW, 3600.0, clean_up), *(Tick(lane.name, lane, 3600.0, step_of(lane)) for lane in counts)]
    )
    loop.start()

    assert enough.wait(DEADLINE_SECONDS)
    going_on.set()
    loop.stop()
    loop.join(DEADLINE_SECONDS)
    assert loop.has_ended


def test_the_pulse_has_a_lane_of_its_own() -> None:
    assert [tick.name for tick in TICKS if tick.lane is Lane.PULSE] == ["workers.stamp_pulse"]
    assert [tick.name for tick in TICKS if tick.lane is Lane.LEASES] == ["workers.expire_leases"]


def test_pulse_comes_well_within_its_silence() -> None:
    from apps.workers.leases import PULSE_SILENCE_SECONDS

    (pulse,) = [tick for tick in TICKS if tick.name == "workers.stamp_pulse"]

    assert pulse.every_seconds * 3 <= PULSE_SILENCE_SECONDS
