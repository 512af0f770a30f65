"""A run that kills its process each time becomes a dead letter after three kills, and others hardly notice.

Throughput is compared within one run of the test, phases with and without poison in turns, so noise hits both alike.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.installation import Installation, installation, until

TASKS = Path(__file__).parent / "poison_tasks"
KILLS = 3
PHASE_COUNT = 8
"""Half of them with poison."""

NEIGHBOURS_PER_PHASE = 400
POISON_PER_PHASE = 4
LEAST_SHARE = 0.9


@pytest.fixture
def site(new_database: str) -> Iterator[Installation]:
    with installation(new_database) as site:
        site.manage("deploy", str(TASKS))
        site.start_worker()
        yield site


def trigger(site: Installation, task: str, count: int, *, has_number: bool = False) -> None:
    site.client.trigger_batch(
        [{"task": task, "payload": {"number": number} if has_number else {}} for number in range(count)]
    )


def wait_until_final(site: Installation) -> None:
    until(
        lambda: not site.query("SELECT id FROM runs_run WHERE state NOT IN ('completed', 'dead_letter') LIMIT 1"),
        "every run is final",
    )


def outcomes(site: Installation, tasks: str) -> dict[tuple[object, ...], int]:
    """How many runs of such tasks ended in each state, after which attempts."""
    rows = site.query(
        "SELECT state, outcomes, count(*) FROM (SELECT r.state, string_agg(a.outcome, ' ' ORDER BY a.number) "
        "AS outcomes FROM runs_run r JOIN runs_attempt a ON a.run_id = r.id WHERE r.task_id LIKE %s GROUP BY r.id) "
        "AS ended GROUP BY 1, 2",
        tasks,
    )
    return {tuple(row[:2]): int(str(row[2])) for row in rows}


def test_poison_is_a_dead_letter_after_three_kills_and_its_neighbours_complete(site: Installation) -> None:
    trigger(site, "neighbour", 30, has_number=True)
    for task in ("poison-a", "poison-b", "late-poison"):
        trigger(site, task, 1)
    trigger(site, "neighbour", 30, has_number=True)

    wait_until_final(site)

    killed = " ".join(["crashed"] * KILLS)
    assert outcomes(site, "poison-%") == {("dead_letter", killed): 2}
    # Its second attempt is the last one that saved anything: kills before it no longer count.
    assert outcomes(site, "late-poison") == {("dead_letter", f"crashed {killed}"): 1}
    assert outcomes(site, "neighbour") == {("completed", "completed"): 60}


def throughput(site: Installation, since: object) -> float:
    """Neighbours per second, from the first claim to the last end."""
    ((rate,),) = site.query(
        "SELECT count(*) / extract(epoch FROM max(a.finished_at) - min(a.claimed_at)) FROM runs_attempt a "
        "JOIN runs_run r ON r.id = a.run_id WHERE r.task_id = 'neighbour' AND r.created_at > %s::timestamptz",
        since,
    )
    return float(str(rate))


def run_phase(site: Installation, poison: str) -> float:
    ((since,),) = site.query("SELECT clock_timestamp()::text")
    if poison:
        trigger(site, poison, POISON_PER_PHASE)
    trigger(site, "neighbour", NEIGHBOURS_PER_PHASE, has_number=True)
    wait_until_final(site)
    return throughput(site, since)


@pytest.mark.long
def test_neighbours_of_poison_keep_their_throughput(site: Installation) -> None:
    run_phase(site, "")  # the worker's first runs pay for what later ones find ready
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(PHASE_COUNT):
        is_poisoned = number % 2 == 1
        # Fewer than ten runs of one task, or it would cool down and spare its neighbours.
        rates[is_poisoned].append(run_phase(site, f"poison-{'abc'[number // 2 % 3]}" if is_poisoned else ""))

    share = median(rates[True]) / median(rates[False])
    print(
        f"\nneighbours per second: alone {', '.join(f'{rate:.0f}' for rate in rates[False])}; beside poison "
        f"{', '.join(f'{rate:.0f}' for rate in rates[True])}; they keep {share:.1%}"
    )
    poison_count = POISON_PER_PHASE * PHASE_COUNT // 2
    assert outcomes(site, "poison-%") == {("dead_letter", " ".join(["crashed"] * KILLS)): poison_count}
    assert set(outcomes(site, "neighbour")) == {("completed", "completed")}
    assert share >= LEAST_SHARE
