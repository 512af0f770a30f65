"""The judge of the kill matrix finds what it is there to find; no process is needed to show it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.reliability.kill_verdict import Ended, Entry, Evidence, Judge, Stored

ORDER = ["begin", "returned c0", "changed c1", "returned c1", "within s0", "returned s0", "returned c2", "gate"]
STORED = [
    Stored("c0", "checkpoint", '{"a":1}', None, 1),
    Stored("c1", "checkpoint", "{}", '{"a":2}', 1),
    Stored("s0", "step", "49", None, 1),
    Stored("c2", "checkpoint", '{"b":49}', None, 1),
]


def entries(*attempts: list[str]) -> list[Entry]:
    return [Entry(number, 1, place) for number, places in enumerate(attempts, 1) for place in places]


CLEAN = Evidence("run_1", "completed", {"b": 49}, entries(ORDER), STORED, [Ended(1, "completed", None)])


def killed(first: list[str], second: list[str], resumed_from: str | None, second_keys: str) -> Evidence:
    """A run whose first process was killed; the second attempt saved `second_keys`."""
    stored = [replace(entry, attempt=2 if entry.key in second_keys.split() else 1) for entry in STORED]
    ends = [Ended(1, "crashed", None), Ended(2, "completed", resumed_from)]
    return replace(CLEAN, entries=entries(first, second), stored=stored, attempts=ends)


KILLED = killed(ORDER[:5], ORDER[3:], "c1", "s0 c2")


def wrongs(run: Evidence, attempt_count: int = 2) -> list[str]:
    return Judge(CLEAN).verdict(run, attempt_count=attempt_count).wrongs


def test_undisturbed_run_is_in_order() -> None:
    assert wrongs(CLEAN, 1) == []


def test_run_that_went_on_from_its_last_checkpoint_is_in_order() -> None:
    verdict = Judge(CLEAN).verdict(KILLED, attempt_count=2)

    assert (verdict.wrongs, verdict.repeated_count, verdict.lost_count) == ([], 1, 0)


def test_checkpoint_that_was_committed_and_not_acknowledged_is_where_the_next_attempt_begins() -> None:
    verdict = Judge(CLEAN).verdict(killed(ORDER[:3], ORDER[3:], "c1", "s0 c2"), attempt_count=2)

    assert (verdict.wrongs, verdict.repeated_count) == ([], 0)


@pytest.mark.parametrize(("outcome", "is_told"), [("lost", False), ("released", False), ("crashed", True)])
def test_only_an_attempt_whose_worker_died_may_not_have_told_where_it_resumed(outcome: str, is_told: bool) -> None:
    third = Ended(3, "completed", "c1")
    run = replace(KILLED, entries=entries(ORDER[:5], ORDER[3:5], ORDER[3:]), attempts=[
        Ended(1, "crashed", None), Ended(2, outcome, None), third,
    ])  # fmt: skip
    run = replace(run, stored=[replace(entry, attempt=3 if entry.attempt == 2 else 1) for entry in run.stored])

    assert bool(wrongs(run, 3)) == is_told


def test_step_that_was_done_is_not_missed_in_the_next_attempt() -> None:
    assert wrongs(killed(ORDER[:6], ["returned c1", *ORDER[5:]], "c1", "c2")) == []


@pytest.mark.parametrize("kept", [[0, 2, 3], [0, 1, 2], []])
def test_acknowledged_checkpoint_that_is_missing_is_found(kept: list[int]) -> None:
    verdict = Judge(CLEAN).verdict(replace(CLEAN, stored=[STORED[index] for index in kept]), attempt_count=1)

    assert verdict.lost_count == len(STORED) - len(kept)
    assert verdict.wrongs


@pytest.mark.parametrize("change", [{"data": '{"a":3}'}, {"carried": None}, {"kind": "step"}])
def test_acknowledged_checkpoint_with_other_data_is_found(change: dict[str, Any]) -> None:
    run = replace(CLEAN, stored=[STORED[0], replace(STORED[1], **change), *STORED[2:]])

    assert Judge(CLEAN).verdict(run, attempt_count=1).lost_count == 1


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(killed(ORDER[:5], ORDER, None, "s0 c2"), id="from the start"),
        pytest.param(killed(ORDER[:5], ORDER[1:], "c0", "s0 c2"), id="a segment too early"),
        pytest.param(killed(ORDER[:5], ORDER[6:], "c2", "s0 c2"), id="a segment too late"),
        pytest.param(killed(ORDER[:5], ORDER[4:], "c1", "s0 c2"), id="in the middle of a segment"),
        pytest.param(killed(ORDER[:6], ORDER[3:], "c1", "c2"), id="with a step that was done"),
        pytest.param(killed(ORDER[:5], [*ORDER[3:6], "gate"], "c1", "s0 c2"), id="leaving a place out"),
        pytest.param(killed(ORDER[:5], ORDER[3:7], "c1", "s0 c2"), id="without reaching the end"),
        pytest.param(killed(ORDER[:5], ORDER[3:], "c0", "s0 c2"), id="saying another resume point"),
        pytest.param(replace(KILLED, output={"b": 50}), id="with another output"),
        pytest.param(replace(KILLED, state="dead_letter"), id="without completing"),
    ],
)
def test_run_that_went_on_wrongly_is_found(run: Evidence) -> None:
    assert wrongs(run)


def test_attempt_that_no_kill_explains_is_found() -> None:
    assert wrongs(KILLED, attempt_count=1)
