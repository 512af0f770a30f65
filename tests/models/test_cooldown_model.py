"""The cool-down protocol, checked in every reachable state; a protocol with one guard taken away must be caught.

`TRIGGER_TEST_MODEL=large` searches sizes for a release; all states are kept in memory.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.models.cooldown_model import Model
from tests.models.cooldown_state import WEAKENINGS, Size
from tests.models.model_search import Result, search

STATE_COUNT_MIN = 100_000

SIZES = {
    "lost probes": Size((0, 0, 0), failures=2, losses=1, crashes=0),
    "dead letter requeued, cancel": Size((0, 0), failures=1, deaths=1, requeues=1, cancels=1, crashes=0, claims=1),
    "repeated finishes, lift": Size((0, 0), failures=2, repeats=1, lifts=1, crashes=0),
    "two tasks, batches": Size((0, 0, 1), failures=1, has_batches=True, crashes=0, claims=1),
    "batches of two tasks each": Size((0, 1, 1, 0), failures=0, has_batches=True, crashes=0, claims=1, capacity=4),
    "more failing runs than are kept": Size((0, 0, 0, 0), limit=1, failures=4, crashes=0, claims=1, writers=1),
    "crash": Size((0, 0), failures=2, losses=1),
}
LARGE_SIZES = {
    "lost probes, crash": Size((0, 0, 0), failures=2, losses=1),
    "dead letter requeued, cancel, crash": Size((0, 0), failures=2, deaths=1, requeues=1, cancels=1),
    "repeated finishes, lift": Size((0, 0), failures=3, repeats=1, lifts=1),
    "two tasks, batches": Size((0, 0, 1), failures=2, has_batches=True, crashes=0),
}

SMALL = Size((0, 0), failures=2, losses=1, lifts=0, claims=1, crashes=0)
FAIL_AND_LIFT = Size((0, 0), failures=2, lifts=1, claims=1, crashes=0)
REPEAT = Size((0, 0), failures=1, repeats=1, claims=1, crashes=0)
THREE = Size((0, 0, 0), failures=2, losses=1, crashes=0)
SIZES_THAT_SHOW = {
    "failure_without_lane": THREE,
    "control_before_lane": FAIL_AND_LIFT,
    "completion_locks_control_first": REPEAT,
    "controls_in_any_order": Size((0, 1, 1, 0), failures=0, has_batches=True, crashes=0, claims=1, capacity=4),
    "repeated_poll_under_lane": REPEAT,
    "failures_counted_twice": SMALL,
    "lost_counts": SMALL,
    "probe_not_looked_at": THREE,
    "all_runs_looked_at": THREE,
    "probe_outlives_cool_down": Size((0, 0, 0), failures=4, lifts=1, claims=1, writers=1, crashes=0),
    "no_end_of_probes": THREE,
    "claim_sets_no_interval": SMALL,
    "control_read_before_lane": THREE,
    "probe_state_not_looked_at": SMALL,
    "no_probe": SMALL,
    "success_keeps_cooling": THREE,
    "success_resets_apart": SMALL,
    "reset_does_not_wait": SMALL,
}


def search_size(size: Size) -> Result:
    return search(Model(size))


def test_every_state_keeps_every_property_and_can_end() -> None:
    sizes = LARGE_SIZES if os.environ.get("TRIGGER_TEST_MODEL") == "large" else SIZES
    context = multiprocessing.get_context("spawn")

    with ProcessPoolExecutor(max_workers=2, mp_context=context) as pool:
        results = dict(zip(sizes, pool.map(search_size, sizes.values()), strict=True))

    for name, result in results.items():
        print(f"{name}: {result.state_count:,} states, {result.step_count:,} steps")
    total = sum(result.state_count for result in results.values())
    print(f"cool-down model: {total:,} states")
    assert {name: (result.violation, result.path) for name, result in results.items() if result.violation} == {}
    assert total >= STATE_COUNT_MIN


@pytest.mark.parametrize("weakening", WEAKENINGS)
def test_weakened_protocol_is_caught(weakening: str) -> None:
    result = search(Model(SIZES_THAT_SHOW[weakening], weakening))

    print(f"{WEAKENINGS[weakening]}: {result.violation}: {' / '.join(result.path)}")
    assert result.violation
    assert result.path


def test_reset_that_does_not_wait_forgets_all_but_failures_that_overlap_it() -> None:
    """A success whose UPDATE names `failing_runs <> '{}'` does not wait for one that is in flight."""
    size = Size((0, 0), failures=2, losses=1, crashes=0, claims=1)

    result = search(Model(size, "reset_does_not_wait", is_lenient=True))

    assert (result.violation, result.path) == ("", [])
