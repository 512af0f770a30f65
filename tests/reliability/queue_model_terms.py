"""The parts of the model: runs, attempts, and the terms of queues and tasks. Times are microseconds from the start."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

SECOND = 1_000_000
CONFIRM = 10 * SECOND
LEASE = 60 * SECOND
PROBE = 60 * SECOND
COOLING_FROM = 3
"""Fewer than in production, so that short sequences get there."""

BUDGET = {"failed", "timed_out", "out_of_memory", "crashed"}
KILLS = {"crashed", "lost"}
FINAL = {"completed", "dead_letter", "discarded", "canceled", "expired"}
BUMPED = 32_767
WORKERS = [UUID(int=1), UUID(int=2)]


@dataclass(eq=False)
class Attempt:
    """`answer` is the state that whoever ended it was told."""

    run: Run
    number: int
    token: bytes
    worker: UUID
    poll: UUID
    is_confirmed: bool = False
    outcome: str = ""
    answer: str | None = None

    @property
    def is_live(self) -> bool:
        return self.run.state == "running" and self.run.attempts[-1] is self


@dataclass(eq=False)
class Run:
    id: UUID
    task: str
    queue: str
    key: str
    priority: int
    max_attempts: int
    state: str
    due_at: int | None = None
    expires_at: int | None = None
    progress_attempt: int = 0
    budget_base: int = 0
    is_cancel_requested: bool = False
    has_run_out_of_memory: bool = False
    lease_end: int | None = None
    attempts: list[Attempt] = field(default_factory=list)
    saved: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By key: index and data."""

    @property
    def lane(self) -> tuple[str, str, str]:
        return self.queue, self.task, self.key

    @property
    def turn(self) -> tuple[int, UUID]:
        return -self.priority, self.id


@dataclass(frozen=True)
class Rate:
    interval: int
    burst: int


RATES = {"6/m": Rate(10 * SECOND, 1), "20/m": Rate(3 * SECOND, 2), "60/m": Rate(SECOND, 6)}


@dataclass
class QueueTerms:
    is_paused: bool = False
    max_concurrency: int | None = None
    rate_limit: str | None = None
    max_depth: int | None = None


@dataclass
class TaskTerms:
    """Declared options, what people have set over them, and how the task has failed."""

    declared: dict[str, object]
    is_paused: bool = False
    overrides: dict[str, object] = field(default_factory=dict)
    failing: set[UUID] = field(default_factory=set)
    cooling_until: int | None = None
    probe: Run | None = None
    probe_until: int = 0
    """So long its probe holds back the next one, while it runs."""

    def effective(self, name: str) -> object:
        value = self.overrides.get(name)
        return self.declared.get(name) if value is None else value

    @property
    def is_cooling(self) -> bool:
        return len(self.failing) >= COOLING_FROM


Bound = tuple[str, str, str]
