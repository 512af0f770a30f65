"""Rounds of the kill matrix: arm, trigger, wait until all that was armed was hit, judge every run, add up figures."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.acceptance.installation import until
from tests.reliability.kill_points import AFTER, BEFORE, KILL_SELF, KILL_TASK, Fuse
from tests.reliability.kill_site import KillSite, Shot
from tests.reliability.kill_verdict import Evidence, Judge

LATE = {"complete_attempts", "save_log_lines", "logs", "finishes"}
"""Passed only after the place `gate`; a run that waits there passes everything else that goes by the clock."""

CLAIM = ["find_lanes", "claim BEGIN", "lock_claims", "lane_terms", "claim_runs", "claim COMMIT"]

BY_CLOCK = {"renew_leases", "expired_leases", "clear_suspicions", "requested_cancels", "stamp_pulse"}

FIRST_DEATH = Fuse("save_checkpoints c4", AFTER)

RAISES_AT = "changed c8"
"""In the middle of a segment, late in the run."""


@dataclass
class Figures:
    """What a series of rounds did."""

    runs: int = 0
    hits: int = 0
    kills: int = 0
    """Hits that ended a process."""
    raises: int = 0
    repeated_segments: int = 0
    lost_checkpoints: int = 0
    wrongs: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.hits} points hit ({self.kills} kills, {self.raises} raises) in {self.runs} runs: "
            f"{self.lost_checkpoints} acknowledged checkpoints lost, {self.repeated_segments} segments run again, "
            f"{len(self.wrongs)} wrongs"
        )


class Rounds:
    def __init__(self, site: KillSite) -> None:
        self.site = site
        self.figures = Figures()
        self._judge: Judge | None = None

    @property
    def judge(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self.site.evidence(self.site.shoot()))
        return self._judge

    def places(self) -> list[str]:
        return self.judge.order

    def statement_points(self) -> list[str]:
        """The statements of a run that outlasts a heartbeat, in the order in which it passes them."""
        with self.site.coordinator.traced() as trace:
            shot = self.site.shoot(is_gated=True)
            until(lambda: {(AFTER, point) for point in BY_CLOCK} <= set(trace()), "what goes by the clock")
            shot.open_gate()
            self.site.evidence(shot)
            return [point for point in _passed(trace()) if not point.startswith(("SET ", "LISTEN ", "SELECT oid"))]

    def coming_points(self) -> list[str]:
        """In order, the statements that surely come after a death at an earlier one of them."""
        writes = [f"save_checkpoints {key}" for key in self.judge.keys]
        return [*CLAIM, *writes, "expired_leases", "clear_suspicions", "requested_cancels", "complete_attempts"]

    def failure_points(self) -> list[str]:
        """The statements that only a run passes whose attempt fails: its end, and the next one's beginning."""
        others = self.statement_points()
        with self.site.coordinator.traced() as trace:
            self.site.evidence(self.site.shoot(raises_at=RAISES_AT))
            return [point for point in _passed(trace()) if point not in others and not point.startswith("SET ")]

    def beginning_points(self) -> list[str]:
        """The statements of a coordinator that begins while there is a run, and of no run."""
        others = self.statement_points()
        with self.site.coordinator.traced() as trace:
            self.strike([FIRST_DEATH])
            return [point for point in _passed(trace()) if point not in others]

    def kill_tasks(self, plans: Iterable[Sequence[str]]) -> None:
        """The task's processes kill themselves at these places, each run by its own plan."""
        shots = [(plan, self.site.shoot(kills=plan)) for plan in plans]
        for plan, shot in shots:
            run = self.site.evidence(shot)
            hits = sum(entry.place.startswith("kill ") for entry in run.entries)
            self._note(f"task {plan}", run, hits=hits, kills=hits, due=len(plan), attempt_count=len(plan) + 1)

    def strike(self, fuses: Sequence[Fuse], *, raises_at: str = "") -> None:
        """One run, with the coordinator's fuses; its own death costs no attempt."""
        coordinator = self.site.coordinator
        before = coordinator.hit_count
        coordinator.arm(fuses)
        shot = self._shot_at(fuses[0], raises_at)
        if not raises_at:
            until(lambda: all(fuse.point in LATE for fuse in coordinator.armed), f"{_names(fuses)} {self.site.logs()}")
            shot.open_gate()
        run = self.site.evidence(shot)
        until(lambda: not coordinator.armed, f"{_names(fuses)} is hit {self.site.logs()}")
        ended = sum(fuse.action == KILL_TASK for fuse in fuses) + bool(raises_at)
        self.figures.raises += bool(raises_at)
        self._note(
            _names(fuses), run, hits=coordinator.hit_count - before, due=len(fuses), attempt_count=1 + ended,
            kills=sum(fuse.action in (KILL_SELF, KILL_TASK) for fuse in fuses),
        )  # fmt: skip

    def _shot_at(self, first: Fuse, raises_at: str) -> Shot:
        """A run whose claim passes the armed point: one that is triggered while an idle claim is under way does not."""
        coordinator, planned = self.site.coordinator, self.site.coordinator.armed
        while True:
            shot = self.site.shoot(raises_at=raises_at, is_gated=not raises_at)
            if first.point not in CLAIM:
                return shot
            is_passed = partial(self._is_passed, planned, shot)
            until(is_passed, f"{first} is passed")
            if coordinator.armed != planned:
                return shot
            self._note("undisturbed", self._open_and_wait(shot), hits=0, kills=0, due=0, attempt_count=1)

    def _is_passed(self, planned: Sequence[Fuse], shot: Shot) -> bool:
        return self.site.coordinator.armed != planned or not self.site.is_pending(shot)

    def strike_after_loss(self, fuse: Fuse) -> None:
        """The coordinator's fuse burns while it ends the attempt of a worker that has died."""
        for lane in self.site.lanes:
            lane.arm([Fuse("checkpoints c4", BEFORE)])
        coordinator = self.site.coordinator
        coordinator.arm([fuse])
        shot = self.site.shoot()
        until(lambda: not all(lane.armed for lane in self.site.lanes), "the death of the worker")
        for lane in self.site.lanes:
            lane.arm([])
        run = self.site.evidence(shot)
        hits = 1 + (not coordinator.armed)
        self._note(f"{fuse} after a loss", run, hits=hits, due=2, kills=2, attempt_count=2)

    def strike_lanes(self, plans: Sequence[Sequence[Fuse]], *, is_gated: bool = False) -> None:
        """A run per lane, each worker with its own fuses; a second one burns in the worker's next life."""
        lanes = self.site.lanes
        plans = [*plans, *([] for _ in lanes[len(plans) :])]  # any lane may take a run, so each gets one
        before = sum(lane.hit_count for lane in lanes)
        for lane, fuses in zip(lanes, plans, strict=True):
            lane.arm(fuses)
        shots = [self.site.shoot(is_gated=is_gated) for _ in lanes]
        if is_gated:
            until(lambda: not any(lane.armed for lane in lanes), f"{plans} {self.site.logs()}")
        runs = [self._open_and_wait(shot) for shot in shots]
        while any(lane.armed for lane in lanes):
            runs.append(self._open_and_wait(self.site.shoot()))
            assert len(runs) < 10 * len(lanes), f"never hit: {[lane.armed for lane in lanes]}"
        hits = sum(lane.hit_count for lane in lanes) - before
        kills = sum(fuse.action == KILL_SELF for plan in plans for fuse in plan)
        ended = sum(len(run.attempts) - 1 for run in runs)
        name = "; ".join(_names(plan) for plan in plans)
        if ended > kills:
            self.figures.wrongs.append(f"{name}: {ended} attempts ended, by {kills} kills")
        for number, run in enumerate(runs):
            first = number == 0
            self._note(
                name, run, hits=hits if first else 0, kills=kills if first else 0,
                due=sum(map(len, plans)) if first else 0, attempt_count=len(run.attempts),
            )  # fmt: skip

    def _open_and_wait(self, shot: Shot) -> Evidence:
        shot.open_gate()
        return self.site.evidence(shot)

    def _note(self, name: str, run: Evidence, *, hits: int, kills: int, due: int, attempt_count: int) -> None:
        verdict = self.judge.verdict(run, attempt_count=attempt_count)
        figures = self.figures
        figures.runs += 1
        figures.hits += hits
        figures.kills += kills
        figures.repeated_segments += verdict.repeated_count
        figures.lost_checkpoints += verdict.lost_count
        figures.wrongs += [f"{name}: {wrong}" for wrong in verdict.wrongs]
        if hits != due:
            figures.wrongs.append(f"{name}: {hits} of {due} points were hit")

    def plans_of_places(self, source: random.Random, count: int, size: int) -> list[list[str]]:
        """Places to die at, never three in one segment: that is a poison run."""
        plans: list[list[str]] = []
        while len(plans) < count:
            plan = sorted(source.choices(self.places(), k=size), key=self.places().index)
            segments = [self.judge.segment_of(place) for place in plan]
            if max(map(segments.count, segments)) < 3:
                plans.append(plan)
        return plans


def _passed(trace: Iterable[tuple[str, str]]) -> list[str]:
    """In order, without what only a new worker asks for and what only follows a death: these have their own rounds."""
    points = dict.fromkeys(point for when, point in trace if when == BEFORE)
    return [point for point in points if not point.startswith(("repeat", "load_deployment", "claim ROLLBACK"))]


def _names(fuses: Sequence[Fuse]) -> str:
    return " then ".join(map(str, fuses))
