"""The slot protocol, checked in every reachable state; a protocol with one guard taken away must be caught.

`TRIGGER_TEST_MODEL=large` searches sizes for a release; all states are kept in memory.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.models.model_search import Result, search
from tests.models.slot_model import Model
from tests.models.slot_state import WEAKENINGS, Change, Kind, Rate, Size

STATE_COUNT_MIN = 150_000

A, B = Kind("A", "q"), Kind("B", "q")
A1, A2 = Kind("A", "q", "k1"), Kind("A", "q", "k2")
KEYS = (("task A", 2), ("key A k1", 1), ("queue q", 2))

SIZES = {
    "keys, total and queue": Size((A1, A1, A2, B), KEYS, deaths=1, requeues=1, cancels=1),
    "retries and releases": Size(
        (A, A, A, B), (("task A", 1), ("queue q", 2)), failures=1, releases=1, cancels=1, waiting=1
    ),
    "bulk cancel": Size((A1, A1, A2, B), (("task A", 2), ("key A k1", 1), ("queue q", 2)), bulks=1, releases=1),
    "limit lowered and raised": Size(
        (A, A, A, B),
        (("task A", 2), ("queue q", 3)),
        changes=(Change("limit", 0, 1), Change("limit", 0, 2)),
        releases=1,
        cancels=1,
        capacity=3,
    ),
    "queue paused and resumed": Size(
        (A, Kind("A", "r"), B, B),
        (("task A", 1), ("queue q", 2)),
        changes=(Change("pause", 1, 0), Change("resume", 1, 1)),
        releases=1,
        cancels=1,
    ),
    "rate": Size((A, A, A, A), (("task A", 3),), rate=Rate(2, 2)),
    "three claimers": Size(
        (A, A, B, B), (("task A", 1), ("queue q", 2)), claimers=3, releases=1, failures=1, crashes=2
    ),
}
LARGE_SIZES = SIZES | {
    "five runs": Size((A1, A1, A2, B, B), KEYS, deaths=1, requeues=1, cancels=1),
    "rate, release": Size((A, A, A, A), (("task A", 3),), rate=Rate(2, 2), releases=1),
    "burst of three": Size((A, A, A, A, A), rate=Rate(1, 3), capacity=3),
}

LIMITS = Size((A, A, B), (("task A", 1), ("queue q", 2)), releases=1)
CHANGES = SIZES["limit lowered and raised"]
PAUSES = SIZES["queue paused and resumed"]
RATE = Size((A, A, A, A), rate=Rate(2, 2), crashes=1)
SIZES_THAT_SHOW = {
    "budget_used_twice": Size((A1, A2), (("task A", 1),)),
    "lane_without_task": Size((A, A, B), (("task A", 1), ("queue q", 3)), capacity=3),
    "limit_unlocked": CHANGES,
    "pause_unlocked": PAUSES,
    "pause_only_at_trigger": PAUSES,
    "total_not_counted": Size((A1, A2), (("task A", 1), ("key A k1", 1), ("key A k2", 1))),
    "blocked_lane_is_dealt_slots": PAUSES,
    "skip_locked_left_out": Size((A1, A2), (("task A", 2),), bulks=1, crashes=0),
    "retry_starts_itself": Size((A, A), (("task A", 1),), failures=1),
    "rate_read_before_lock": RATE,
    "clock_read_before_lock": RATE,
    "rate_written_apart": RATE,
    "fixed_window": RATE,
    "state_not_checked_again": Size((A, A), (("task A", 1),), cancels=1),
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
    print(f"slot model: {total:,} states")
    assert {name: (result.violation, result.path) for name, result in results.items() if result.violation} == {}
    assert total >= STATE_COUNT_MIN


@pytest.mark.parametrize("weakening", WEAKENINGS)
def test_weakened_protocol_is_caught(weakening: str) -> None:
    result = search(Model(SIZES_THAT_SHOW.get(weakening, LIMITS), weakening))

    print(f"{WEAKENINGS[weakening]}: {result.violation}: {' / '.join(result.path)}")
    assert result.violation
    assert result.path


def test_limit_changed_without_the_lane_is_late_by_one_claim_at_most() -> None:
    """Every claim keeps the limits that it surveyed, and the lane lets one claim at a time be past its survey."""
    size = Size((A, A, A), (("task A", 2),), changes=(Change("limit", 0, 1), Change("limit", 0, 2)), releases=1)

    result = search(Model(size, "limit_unlocked", is_lenient=True))

    assert (result.violation, result.path) == ("", [])
