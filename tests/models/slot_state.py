"""What the model of the slot protocol is made of: its state, the bounds of a search, and the guards to take away."""

from dataclasses import dataclass
from typing import NamedTuple

WEAKENINGS = {
    "no_lane_lock": "claims take no lane lock",
    "one_statement": "lane lock, counts and claim are one statement",
    "counts_before_lock": "the running runs are counted before the lane is held",
    "not_materialised": "the claim's LIMIT is ignored by one row",
    "limit_unlocked": "a limit is changed without the lane lock",
    "pause_unlocked": "a queue is paused without the lane lock",
    "pause_only_at_trigger": "the claim does not look at pauses",
    "counter_column": "slots are a column that a claim counts up and the end of a run counts down afterwards",
    "held_rows_not_counted": "the counts skip rows that others have locked",
    "total_not_counted": "the claim knows the limit of each key, not the one over all keys",
    "budget_used_twice": "each lane of a round is given all the free slots of its task and queue",
    "blocked_lane_is_dealt_slots": "a round deals slots to lanes of a paused queue",
    "lane_without_task": "a lane is a queue and a key, and is dealt the free slots of its first run's task",
    "state_not_checked_again": "the claim takes what its snapshot showed as pending",
    "skip_locked_left_out": "the claim waits for rows that others have locked",
    "retry_starts_itself": "a retry whose time has come runs without a claim",
    "rate_read_before_lock": "the rate row is read before the lane is held",
    "clock_read_before_lock": "the clock is read before the lane is held",
    "rate_written_apart": "the rate row is written in a transaction of its own, after the claim",
    "fixed_window": "starts are counted per window of the clock",
}

FINAL = frozenset("dxc")
BUDGETS = ("failures", "deaths", "releases", "cancels", "requeues")
MOVES = (
    ("r", "d", "", "completes"),
    ("r", "t", "failures", "fails"),
    ("r", "x", "deaths", "fails for the last time"),
    ("r", "p", "releases", "is given back"),
    ("p", "c", "cancels", "is canceled"),
    ("t", "c", "cancels", "is canceled"),
    ("x", "p", "requeues", "is requeued"),
)
"""From, to, the budget that a move uses up, label. Each is a transaction that locks the run's row."""

AGE_MAX = 2
"""Ticks that a claim may take; the statement timeout."""


class Kind(NamedTuple):
    task: str
    queue: str
    key: str = ""


class Rate(NamedTuple):
    """GCRA for all runs: one start per `interval` ticks, `burst` at once."""

    interval: int
    burst: int


class Change(NamedTuple):
    """A person sets a scope's limit, or pauses (0) and resumes (1) it."""

    verb: str
    scope: int
    value: int


class Claimer(NamedTuple):
    """A coordinator's transaction: `stage` is "" (none), waiting (for the lane, with what it read before), locked,
    planned, taking, or unwritten (committed, its rate row is not)."""

    stage: str = ""
    plan: tuple[int, ...] = ()
    """Runs that it may start, per lane."""
    seen: tuple[int, ...] = ()
    """The rows that its claim statement has yet to visit."""
    taken: tuple[int, ...] = ()
    limits: tuple[int, ...] = ()
    """Ghost: the limits at its survey."""
    ahead: int = 0
    """The rate row as read before the lock; weakened protocols only."""
    age: int = 0
    """Ticks since it read the clock."""
    stamp: int = 0
    """Ticks since the moment that its starts are stamped with."""


class State(NamedTuple):
    """Runs are w(aiting for their time), p(ending), r(unning), re(t)rying, d(one), c(anceled), x (dead letter)."""

    runs: tuple[str, ...]
    """As committed."""
    held: tuple[str, ...]
    """Row locks: "" none, "*" a claimer, "b" the bulk cancel, else the state that a transaction is about to commit."""
    claimers: tuple[Claimer, ...]
    limits: tuple[int, ...]
    open_scopes: tuple[int, ...]
    """1, or 0 while paused, per scope."""
    budgets: tuple[int, ...]
    person: bool = False
    """A person's change holds the lane."""
    changes: int = 0
    """Changes made so far."""
    bulk: int = -1
    """The row that the bulk cancel looks at next; -1 not begun or over."""
    bulks: int = 0
    crashes: int = 0
    """Transactions that may yet be rolled back; few, so that a deadlock is a dead end."""
    ahead: int = 0
    """GCRA's theoretical arrival time, counted from now."""
    starts: tuple[int, ...] = ()
    """Ghost: ages of the latest starts."""
    window: tuple[int, int] = (0, 0)
    """Position in the clock's window and starts in it; weakened protocols only."""
    counters: tuple[int, ...] = ()
    owed: tuple[int, ...] = ()
    """Ended runs that the counters still hold; weakened protocols only."""


@dataclass(frozen=True)
class Size:
    """The bounds of a search; events that happen by themselves happen at most so often."""

    runs: tuple[Kind, ...]
    limits: tuple[tuple[str, int], ...] = ()
    """Scopes `task A`, `queue q`, `key A k` with their limits."""
    waiting: int = 0
    """So many of the last runs wait for their time."""
    claimers: int = 2
    capacity: int = 2
    failures: int = 0
    deaths: int = 0
    releases: int = 0
    cancels: int = 0
    requeues: int = 0
    bulks: int = 0
    crashes: int = 1
    changes: tuple[Change, ...] = ()
    rate: Rate | None = None

    def start(self) -> State:
        count = len(self.runs)
        return State(
            runs=("p",) * (count - self.waiting) + ("w",) * self.waiting,
            held=("",) * count,
            claimers=(Claimer(),) * self.claimers,
            limits=tuple(limit for _, limit in self.limits),
            open_scopes=(1,) * len(self.limits),
            budgets=tuple(getattr(self, name) for name in BUDGETS),
            bulks=self.bulks,
            crashes=self.crashes,
            counters=(0,) * len(self.limits),
        )

    def members(self) -> list[frozenset[int]]:
        """The runs of each scope."""
        return [
            frozenset(
                r
                for r, kind in enumerate(self.runs)
                if name in (f"task {kind.task}", f"queue {kind.queue}", f"key {kind.task} {kind.key}")
            )
            for name, _ in self.limits
        ]


Step = tuple[str, State]


def put(values: tuple[str, ...], index: int, value: str) -> tuple[str, ...]:
    return (*values[:index], value, *values[index + 1 :])


def put_claimer(s: State, index: int, claimer: Claimer) -> State:
    return s._replace(claimers=(*s.claimers[:index], claimer, *s.claimers[index + 1 :]))


def canonical(s: State) -> State:
    """Claimers are alike: sorted, one state stands for all their orders."""
    if len(s.claimers) > 1 and list(s.claimers) != (ordered := sorted(s.claimers)):
        return s._replace(claimers=tuple(ordered))
    return s
