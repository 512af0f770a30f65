"""Workers that sleep through their leases: what they write after waking is refused, and their tasks die within seconds.

A few on every change, by moving the database's clock; two hundred, asleep for twice the lease by the clock on the wall,
in the long tier. Workers and agents count by their own clocks, which go on while they are stopped.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation
from tests.reliability.zombie_site import TASKS, Zombies, until

DEAD_WITHIN_SECONDS = 5.0
KINDS_OF_WRITES = 5


@pytest.fixture
def site(new_database: str) -> Iterator[Installation]:
    with installation(new_database) as site:
        site.manage("deploy", str(TASKS))
        yield site


def prove(zombies: Zombies, *, has_patience: bool) -> None:
    try:
        zombies.start()
        zombies.stop()
        stale = zombies.give_away(has_patience=has_patience)
        early = zombies.late_writes(stale)
        seconds = zombies.wake()
        (zombies.files / "gate").unlink()
        until(lambda: not zombies.site.query("SELECT id FROM runs_run WHERE state = 'running'"), "all have ended")
        late = zombies.late_writes(stale)
    finally:
        zombies.close()
    count = zombies.count
    statuses = [status for writes in (early, late) for each in writes.values() for status in each]
    print(
        f"\n{count} zombies on {zombies.worker_count} workers: dead {seconds:.2f} s after waking; {len(statuses):,} "
        f"more writes with their tokens while and after their successors ran, {statuses.count(409):,} refused"
    )
    # What a few zombies take beside other tests says nothing of time.
    assert seconds <= DEAD_WITHIN_SECONDS or not has_patience
    assert statuses == [409] * (2 * KINDS_OF_WRITES * count)
    assert zombies.pids("accepted") == []
    assert zombies.site.query("SELECT id FROM checkpoints_checkpoint") == []
    rows = zombies.site.query("SELECT number, outcome, count(*) FROM runs_attempt GROUP BY 1, 2 ORDER BY 1")
    assert rows == [(1, "lost", count), (2, "completed", count)]
    outputs = zombies.site.query("SELECT DISTINCT output::text FROM runs_value")
    assert outputs == [('"by the second attempt"',)]


def test_what_a_zombie_writes_is_refused_and_its_task_dies(site: Installation, tmp_path: Path) -> None:
    prove(Zombies(site, tmp_path, count=4, worker_count=2), has_patience=False)


@pytest.mark.long
def test_what_two_hundred_zombies_write_is_refused(site: Installation, tmp_path: Path) -> None:
    prove(Zombies(site, tmp_path, count=200, worker_count=4), has_patience=True)
