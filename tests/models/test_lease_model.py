"""The lease protocol, checked in every reachable state; a protocol with one guard taken away must be caught.

`TRIGGER_TEST_MODEL=large` searches sizes for a release; all states are kept in memory.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.models.lease_model import Model
from tests.models.lease_state import WEAKENINGS, Size
from tests.models.model_search import Result, search

STATE_COUNT_MIN = 500_000

SIZES = {
    "frozen worker, cut connection": Size(attempts=2, breaks=(1, 0)),
    "outage, cut connection": Size(attempts=2, pauses=(0, 0), outages=1, breaks=(1, 0)),
    "outage, cancel": Size(attempts=2, pauses=(0, 0), outages=1, cancels=1),
    "stray poll, crash": Size(attempts=2, pauses=(0, 0), strays=1, crashes=1, kills=2),
    "requeue": Size(attempts=2, failures=1, kills=1, requeues=1),
}
LARGE_SIZES = {
    "frozen worker, cancel": Size(attempts=2, cancels=1),
    "three attempts, two checkpoints": Size(attempts=3, checkpoints=2, pauses=(0, 0), failures=3),
    "two frozen workers, cancel, crash": Size(attempts=2, pauses=(1, 1), cancels=1, crashes=1),
    "frozen worker, outage, cut connection": Size(attempts=2, outages=1, breaks=(1, 0), cancels=1),
}

SIZES_THAT_SHOW = {
    "cancel_forgotten": Size(attempts=2, cancels=1),
    "finish_ignores_state": Size(attempts=2, cancels=1),
    "grace_ignored": Size(attempts=2, outages=1, pauses=(0, 0)),
    "pulse_age_ignored": Size(attempts=2, outages=1, pauses=(0, 0)),
    "no_expiry": Size(attempts=2, pauses=(0, 0)),
    "no_promotion": Size(attempts=2, pauses=(0, 0)),
    "requeue_without_budget": Size(attempts=3, checkpoints=0, failures=2, kills=2, requeues=1, pauses=(0, 0)),
    "suspicion_kept": Size(attempts=2, breaks=(1, 0), pauses=(0, 0)),
    "unconfirmed_kept": Size(attempts=2, pauses=(0, 0)),
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
    print(f"lease model: {total:,} states")
    assert {name: (result.violation, result.path) for name, result in results.items() if result.violation} == {}
    assert total >= STATE_COUNT_MIN


@pytest.mark.parametrize("weakening", WEAKENINGS)
def test_weakened_protocol_is_caught(weakening: str) -> None:
    size = SIZES_THAT_SHOW.get(weakening, Size(attempts=2))

    result = search(Model(size, weakening))

    print(f"{WEAKENINGS[weakening]}: {result.violation}: {' / '.join(result.path)}")
    assert result.violation
    assert result.path
