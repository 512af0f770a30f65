"""What is known of a campaign when it is over: runs with their ledgers and rows, faults, answers. Judges nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

SEGMENTS = 6
STEP_AFTER = {"s0": 2, "s1": 5}
"""The segment behind which each step stands."""

KEYS = ["c0", "c1", "s0", "c2", "c3", "c4", "s1"]
SLACK_SECONDS = 2.0
"""So long after a fault somebody who has not noticed it yet may hand an attempt to what it has hit."""

POISON_KILLS = 3


@dataclass(frozen=True)
class Entry:
    """A line of a ledger; `at` in seconds of the wall clock."""

    attempt: int
    pid: int
    at: float
    place: str


@dataclass(frozen=True)
class Ended:
    """A row of an attempt; times in seconds of the wall clock, `outcome` empty while it is alive."""

    number: int
    outcome: str
    worker_id: str
    claimed_at: float
    finished_at: float | None


@dataclass(frozen=True)
class Stored:
    """A checkpoint or a step in the table, its data decoded; `at` in seconds of the wall clock."""

    key: str
    data: object
    attempt: int
    at: float = float("inf")


@dataclass
class Fault:
    """One fault that was done: when, and what it touched. `kind` is `name:detail`."""

    kind: str
    begun_at: float
    ended_at: float = 0.0
    note: str = ""
    worker_ids: set[str] = field(default_factory=set)
    run_ids: set[str] = field(default_factory=set)
    is_hit: bool = False
    is_final: bool = False
    """Nothing of the workers that it hit comes back."""

    @property
    def name(self) -> str:
        return self.kind.partition(":")[0]

    def explains(self, run_id: str, attempt: Ended) -> bool:
        """Whether the attempt may have ended by it: it was alive then, on what the fault touched.

        A drain gives attempts back; one that it ends otherwise is burned without a reason.
        """
        if attempt.claimed_at > self.ended_at + SLACK_SECONDS and not self.is_final:
            return False
        if attempt.finished_at is not None and attempt.finished_at < self.begun_at:
            return False
        if self.name == "drain" and attempt.outcome != "released":
            return False
        return attempt.worker_id in self.worker_ids or run_id in self.run_ids


@dataclass(frozen=True)
class Run:
    """All that is known of one run. `wanted` is what it was to do (`number`), `key` its idempotency key."""

    id: str
    key: str
    wanted: int
    state: str
    output: object
    entries: Sequence[Entry]
    stored: Sequence[Stored]
    attempts: Sequence[Ended]

    @cached_property
    def by_attempt(self) -> dict[int, list[Entry]]:
        found: dict[int, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.attempt, []).append(entry)
        return dict(sorted(found.items()))


@dataclass
class Evidence:
    """Everything known of a campaign when all is over."""

    acknowledged: dict[str, str]
    """By idempotency key the id that a client was told."""

    runs: Sequence[Run]
    faults: Sequence[Fault]
    operations: int
    answered: int
    wanted_kinds: Sequence[str] = ()
    wrong_answers: Sequence[str] = ()
    """What clients were told and should not have been."""

    exits: Sequence[str] = ()
    orphans: Sequence[str] = ()
    """Containers that are there without a run."""

    settle_seconds: float = 0.0
    begun_at: float = 0.0

    @cached_property
    def poisoned(self) -> set[str]:
        """Dead letters by right: three kills by faults that touched them, with no new checkpoint between."""
        return {run.id for run in self.runs if run.state == "dead_letter" and self._count_kills(run) >= POISON_KILLS}

    def causes(self, run: Run, attempt: Ended) -> list[Fault]:
        """The faults by which the attempt may have ended."""
        return [fault for fault in self.faults if fault.explains(run.id, attempt)]

    def _count_kills(self, run: Run) -> int:
        """The kills since the last new checkpoint that a fault explains."""
        progress = max((entry.attempt for entry in run.stored), default=0)
        killed = [attempt for attempt in run.attempts if attempt.outcome in ("crashed", "lost")]
        return sum(attempt.number >= progress and bool(self.causes(run, attempt)) for attempt in killed)


def expected(number: int) -> tuple[dict[str, object], dict[str, object]]:
    """What a run with that number saves under each key, and what it returns."""
    total, saved, values = number, dict[str, object](), dict[str, int]()
    for place in range(SEGMENTS):
        total = (total * 31 + place) % 1_000_003
        for key, after in STEP_AFTER.items():
            if after == place:
                values[key] = total * total
                saved[key] = total * total
        if place < SEGMENTS - 1:
            saved[f"c{place}"] = {"total": total} | ({"first": values["s0"]} if place == STEP_AFTER["s0"] else {})
    return saved, {"number": number, "total": total, "first": values["s0"], "second": values["s1"]}
