"""The one loop over ticks: a failing one is isolated, and a stop ends it at once."""

import threading
import time
from collections.abc import Callable

import pytest

from trigger_site import runner
from trigger_site.runner import Runner
from trigger_site.ticks import TICKS, Tick

DEADLINE_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop itself is under test; it closes connections of ticks that had some."""
    monkeypatch.setattr(runner, "close_old_connections", lambda: None)


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
    ticks = [Tick(name, 1.0, note(seen, name)) for name in ("a", "b")]

    Runner(ticks).run_once()

    assert seen == ["a", "b"]


def test_failing_tick_hides_no_other_and_backs_off(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    loop = Runner([Tick("bad", 1.0, fail), Tick("good", 1.0, note(seen, "good"))])

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

    loop = Runner([Tick("t", 1.0, step)])
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

    loop = Runner([Tick("t", 3600.0, step)])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    assert finished.wait(DEADLINE_SECONDS)
    loop.stop()
    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert left == [0]


def test_stop_ends_a_sleeping_loop() -> None:
    ran = threading.Event()
    seen: list[str] = []

    def step() -> bool:
        ran.set()
        return note(seen, "t")()

    loop = Runner([Tick("t", 3600.0, step)])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert ran.wait(DEADLINE_SECONDS)

    loop.stop()

    thread.join(DEADLINE_SECONDS)
    assert not thread.is_alive()
    assert seen == ["t"]


def test_stop_before_the_start_runs_nothing() -> None:
    loop = Runner([Tick("t", 1.0, fail)])
    loop.stop()

    loop.run_forever()

    assert loop._dues[0].failure_count == 0


def test_pulse_comes_well_within_its_silence() -> None:
    from apps.workers.leases import PULSE_SILENCE_SECONDS

    (pulse,) = [tick for tick in TICKS if tick.name == "workers.stamp_pulse"]

    assert pulse.every_seconds * 3 <= PULSE_SILENCE_SECONDS
