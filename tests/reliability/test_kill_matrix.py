"""Kill -9 before and after every place of a task, statement of its coordinator and request of its worker.

The default tier takes a sample, `--long` the whole matrix with pairs and triples. `TRIGGER_TEST_SEED` repeats a
sample; `-s` shows seed and figures.
"""

import os
import random
import secrets
from collections.abc import Iterator, Sequence

import pytest

from tests.reliability.kill_points import AFTER, BEFORE, KILL_SELF, KILL_TASK, LOSE_ANSWER, LOST, STOP_POSTGRES, Fuse
from tests.reliability.kill_rounds import FIRST_DEATH, RAISES_AT, Rounds
from tests.reliability.kill_site import KillSite, kill_site

LANES = 6
SEED = int(os.environ.get("TRIGGER_TEST_SEED") or secrets.randbits(32))
CHECKPOINTS = [f"c{number}" for number in range(10)]
WRITES = [*CHECKPOINTS, "s0", "s1"]
REQUESTS = [*(f"checkpoints {key}" for key in WRITES), "polls", "logs", "finishes"]
BY_CLOCK = ["starts", "heartbeats"]
NEXT_LIFE = ["workers", "deployments", "stored"]
"""Sent by a worker that begins, or by one that takes a run up again."""

REPEATS = ["repeat BEGIN", "repeat_claims", "repeat COMMIT"]


@pytest.fixture(scope="module")
def site() -> Iterator[KillSite]:
    with kill_site(LANES) as site:
        yield site


@pytest.fixture
def rounds(site: KillSite) -> Rounds:
    site.settle()
    return Rounds(site)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{SEED} {request.node.name}")


def both(points: Sequence[str], action: str = KILL_SELF) -> list[Fuse]:
    return [Fuse(point, when, action) for point in points for when in (BEFORE, AFTER)]


def assert_clean(rounds: Rounds) -> None:
    figures = rounds.figures
    print(f"\nseed {SEED}: {figures}")
    assert not figures.wrongs, "\n".join(figures.wrongs)
    assert figures.lost_checkpoints == 0
    assert figures.repeated_segments <= figures.kills + figures.raises


def test_sample_of_deaths_of_tasks(rounds: Rounds, source: random.Random) -> None:
    rounds.kill_tasks([[place] for place in source.sample(rounds.places(), 8)])
    rounds.kill_tasks(rounds.plans_of_places(source, 2, 2) + rounds.plans_of_places(source, 2, 3))

    assert_clean(rounds)


def test_sample_of_deaths_of_the_coordinator(rounds: Rounds, source: random.Random) -> None:
    points = rounds.statement_points()

    for fuse in source.sample(both(points), 5):
        rounds.strike([fuse])
    for key in source.sample(WRITES, 2):
        rounds.strike([Fuse(f"save_checkpoints {key}", source.choice([BEFORE, AFTER]), KILL_TASK)])

    assert_clean(rounds)


def test_sample_of_deaths_of_workers_and_lost_answers(rounds: Rounds, source: random.Random) -> None:
    rounds.strike_lanes([[fuse] for fuse in source.sample(both(REQUESTS), LANES)])
    rounds.strike_lanes([[Fuse(point, LOST, LOSE_ANSWER)] for point in source.sample(REQUESTS, LANES)])

    assert_clean(rounds)


def test_stop_of_the_database(rounds: Rounds, source: random.Random) -> None:
    rounds.strike(
        [Fuse(f"save_checkpoints {source.choice(CHECKPOINTS)}", source.choice([BEFORE, AFTER]), STOP_POSTGRES)]
    )

    assert_clean(rounds)


def test_checkpoint_acknowledged_before_its_commit_is_caught(rounds: Rounds) -> None:
    plant = rounds.site.coordinator.folder / "plant"
    rounds.judge  # noqa: B018 - what a run without the bug leaves
    plant.touch()
    rounds.site.coordinator.kill()
    rounds.site.wait_for_coordinator()
    plant.unlink()

    rounds.strike([Fuse("save_checkpoints c4", BEFORE)])

    assert rounds.figures.lost_checkpoints >= 1
    assert rounds.figures.wrongs


@pytest.mark.long
def test_task_dies_at_every_place(rounds: Rounds, source: random.Random) -> None:
    rounds.kill_tasks([[place] for place in rounds.places()])
    rounds.kill_tasks([[place, place] for place in rounds.places()])
    rounds.kill_tasks(rounds.plans_of_places(source, 60, 2) + rounds.plans_of_places(source, 40, 3))

    assert_clean(rounds)


@pytest.mark.long
def test_task_dies_between_sending_a_checkpoint_and_its_answer(rounds: Rounds) -> None:
    for fuse in both([f"save_checkpoints {key}" for key in WRITES], KILL_TASK):
        rounds.strike([fuse])

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_at_every_statement_of_a_run(rounds: Rounds) -> None:
    for fuse in both(rounds.statement_points()):
        rounds.strike([fuse])

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_while_a_lost_claim_is_repeated(rounds: Rounds) -> None:
    for fuse in both(REPEATS):
        rounds.strike([Fuse("claim COMMIT", AFTER), fuse])

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_again_while_it_begins(rounds: Rounds) -> None:
    for fuse in both(rounds.beginning_points()):
        rounds.strike([FIRST_DEATH, fuse])

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_while_an_attempt_fails_and_is_retried(rounds: Rounds) -> None:
    for fuse in both(rounds.failure_points()):
        rounds.strike([fuse], raises_at=RAISES_AT)

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_while_it_ends_the_attempt_of_a_dead_worker(rounds: Rounds) -> None:
    for fuse in both(["lock_attempts", "fail_attempts", "fail_attempts COMMIT"]):
        rounds.strike_after_loss(fuse)

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_while_a_new_worker_fetches_its_deployment(rounds: Rounds) -> None:
    for fuse in both(["load_deployment"]):
        rounds.site.chill()
        rounds.strike([fuse])

    assert_clean(rounds)


@pytest.mark.long
def test_coordinator_dies_twice_and_thrice(rounds: Rounds, source: random.Random) -> None:
    points = both(rounds.coming_points())

    for size in [2] * 25 + [3] * 15:
        rounds.strike(sorted(source.sample(points, size), key=points.index))

    assert_clean(rounds)


@pytest.mark.long
def test_worker_dies_at_every_request(rounds: Rounds) -> None:
    for batch in batches(both(REQUESTS)):
        rounds.strike_lanes([[fuse] for fuse in batch])
    rounds.strike_lanes([[fuse] for fuse in both(BY_CLOCK)], is_gated=True)

    assert_clean(rounds)


@pytest.mark.long
def test_worker_dies_again_when_it_begins_anew(rounds: Rounds) -> None:
    rounds.strike_lanes([[Fuse("checkpoints c1", BEFORE), fuse] for fuse in both(NEXT_LIFE)])

    assert_clean(rounds)


@pytest.mark.long
def test_worker_loses_the_answer_to_every_request(rounds: Rounds) -> None:
    for batch in batches([Fuse(point, LOST, LOSE_ANSWER) for point in REQUESTS]):
        rounds.strike_lanes([[fuse] for fuse in batch])
    rounds.strike_lanes([[Fuse(point, LOST, LOSE_ANSWER)] for point in BY_CLOCK], is_gated=True)

    assert_clean(rounds)


@pytest.mark.long
def test_worker_dies_twice_and_thrice(rounds: Rounds, source: random.Random) -> None:
    """Early, in the middle and late: every worker's next life takes up a run that has these points before it."""
    for _ in range(4):
        early, middle, late = (
            source.sample(both([f"checkpoints {key}" for key in keys]), LANES)
            for keys in (CHECKPOINTS[:3], CHECKPOINTS[4:7], ["c8", "s1", "c9"])
        )
        plans = zip(early, middle, late, strict=True)
        rounds.strike_lanes([list(plan) if lane % 2 else list(plan)[:2] for lane, plan in enumerate(plans)])

    assert_clean(rounds)


@pytest.mark.long
def test_database_stops_at_statements(rounds: Rounds, source: random.Random) -> None:
    for fuse in source.sample(both(rounds.statement_points(), STOP_POSTGRES), 16):
        rounds.strike([fuse])
    for fuse in source.sample(both(rounds.failure_points(), STOP_POSTGRES), 4):
        rounds.strike([fuse], raises_at=RAISES_AT)

    assert_clean(rounds)


def batches(fuses: list[Fuse]) -> list[list[Fuse]]:
    return [fuses[start : start + LANES] for start in range(0, len(fuses), LANES)]
