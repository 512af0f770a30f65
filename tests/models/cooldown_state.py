"""What the model of the cool-down is made of: its state, the bounds of a search, and the guards to take away."""

from dataclasses import dataclass
from typing import NamedTuple

WEAKENINGS = {
    "failure_without_lane": "a failure is counted without the lane lock",
    "control_before_lane": "a failure locks the control row, then waits for the lane",
    "completion_locks_control_first": "a completion locks the control row, then its run",
    "controls_in_any_order": "a batch locks control rows in the order of its runs",
    "repeated_poll_under_lane": "a repeated poll locks its runs while it holds the lane",
    "failures_counted_twice": "failures are counted, not the runs that failed",
    "lost_counts": "a lost attempt counts as a failure",
    "probe_not_looked_at": "a probe is claimed although the one before it still has its time",
    "all_runs_looked_at": "a probe is not claimed while any run of the task is running",
    "probe_outlives_cool_down": "a cool-down that begins keeps the probe of an earlier one",
    "no_end_of_probes": "a probe holds back the next one for as long as it runs",
    "claim_sets_no_interval": "only failures set the time until which a task cools",
    "control_read_before_lane": "the claim reads the control rows before it holds the lane",
    "probe_state_not_looked_at": "a probe holds back the next one for its time, although it has ended",
    "no_probe": "a task that fails too often is not claimed at all",
    "success_keeps_cooling": "a success forgets the failures, not the time until which the task cools",
    "success_resets_apart": "a success resets the control row in a transaction of its own",
    "reset_does_not_wait": "a success updates the control row only where it sees failures",
}

FINAL = frozenset("dxc")
FAILING_MIN = 2
"""Distinct failed runs from which on a task cools; 10 in the product."""
FAILING_MAX = 3
"""The most that are kept; 20 in the product."""
INTERVAL_MAX = 2
"""Ticks; 300 s in the product."""
PROBE_MIN = 2
"""Ticks for which a probe holds back the next one, unless the interval is longer; 60 s in the product."""
AGE_MAX = 1
"""Ticks that a transaction may take after it read the clock; the statement timeout."""
AGE_LONG = INTERVAL_MAX + AGE_MAX
"""Ages are told apart up to here."""

BUDGETS = ("failures", "deaths", "losses", "cancels", "requeues", "lifts", "repeats")


class Control(NamedTuple):
    """The control row of a task."""

    failing: tuple[int, ...] = ()
    cooling: int = 0
    """Ticks until the task may be claimed again."""
    probe: int = -1
    """The run that was started last while the task cooled."""
    probe_left: int = 0
    """Ticks for which it holds back the next one, while it runs."""


class Past(NamedTuple):
    """Ghost, per task: what the rules say about it, reckoned from commits."""

    failed: tuple[int, ...] = ()
    excused: tuple[int, ...] = ()
    """Failures whose transactions overlapped that of a success which saw none."""
    since_failure: int = AGE_LONG
    since_start: int = AGE_LONG
    interval: int = 0
    """What the latest start had to keep free after it."""
    probe: int = -1
    """The run of the latest start, where that was a probe of the present cool-down."""
    probe_time: int = 0
    """For how long it holds back the next one, while it runs."""


class Claim(NamedTuple):
    """A coordinator's claim: `stage` is "" (none), waiting (for the lane, it has read), locked, taking, controls."""

    stage: str = ""
    plan: tuple[int, ...] = ()
    """Runs that it may start, per task."""
    probes: tuple[bool, ...] = ()
    """Whether that start is a probe, per task."""
    seen: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    todo: tuple[int, ...] = ()
    """Tasks whose control row it has yet to lock."""
    locks: int = 0
    age: int = 0


class Writer(NamedTuple):
    """Any other transaction: it carries out the steps of `verb` one by one."""

    verb: str = ""
    wanted: tuple[int, ...] = ()
    """Runs, in the order in which it locks them; for a lift the task."""
    valid: tuple[int, ...] = ()
    """Those that were in the expected state when it got their lock."""
    position: int = 0
    locks: int = 0
    age: int = 0
    is_reset_skipped: bool = False


class State(NamedTuple):
    """Runs are p(ending), r(unning), re(t)rying, d(one), c(anceled), x (dead letter), as committed."""

    runs: tuple[str, ...]
    controls: tuple[Control, ...]
    past: tuple[Past, ...]
    claims: tuple[Claim, ...]
    writers: tuple[Writer, ...]
    budgets: tuple[int, ...]
    crashes: int
    """Transactions that may yet be rolled back; few, so that a deadlock is a dead end."""


@dataclass(frozen=True)
class Size:
    """The bounds of a search; events that happen by themselves happen at most so often."""

    tasks: tuple[int, ...]
    """The task of each run."""
    limit: int = 2
    """Runs of a task that may run at once."""
    capacity: int = 2
    claims: int = 2
    writers: int = 2
    has_batches: bool = False
    """Completions and failures may come in pairs."""
    failures: int = 2
    deaths: int = 0
    losses: int = 0
    cancels: int = 0
    requeues: int = 0
    lifts: int = 0
    repeats: int = 0
    """Finishes and polls that are sent a second time."""
    crashes: int = 1

    def start(self) -> State:
        count = max(self.tasks) + 1
        return State(
            runs=("p",) * len(self.tasks),
            controls=(Control(),) * count,
            past=(Past(),) * count,
            claims=(Claim(),) * self.claims,
            writers=(Writer(),) * self.writers,
            budgets=tuple(getattr(self, name) for name in BUDGETS),
            crashes=self.crashes,
        )


Step = tuple[str, State]


def interval(failing_count: int) -> int:
    """Ticks between two starts of a task; 0 where it does not cool."""
    return min(INTERVAL_MAX, 2 ** (failing_count - FAILING_MIN)) if failing_count >= FAILING_MIN else 0


def is_quiet(s: State) -> bool:
    return not any(c.stage for c in s.claims) and not any(w.verb for w in s.writers)


def put_claim(s: State, index: int, claim: Claim) -> State:
    return s._replace(claims=(*s.claims[:index], claim, *s.claims[index + 1 :]))


def put_writer(s: State, index: int, writer: Writer) -> State:
    return s._replace(writers=(*s.writers[:index], writer, *s.writers[index + 1 :]))


def spend(budgets: tuple[int, ...], name: str) -> tuple[int, ...] | None:
    """The budgets after one such event; None where it is used up."""
    which = BUDGETS.index(name)
    return (*budgets[:which], budgets[which] - 1, *budgets[which + 1 :]) if budgets[which] else None


def canonical(s: State) -> State:
    """Transactions of a kind are alike, so sorted; ages that nothing asks for are dropped."""
    claims, writers, past = tuple(sorted(s.claims)), tuple(sorted(s.writers)), tuple(map(_asked_for, s.past))
    if claims == s.claims and writers == s.writers and past == s.past:
        return s
    return s._replace(claims=claims, writers=writers, past=past)


def _asked_for(past: Past) -> Past:
    if past.failed and past.interval:
        return past
    return past._replace(
        since_failure=past.since_failure if past.failed else AGE_LONG,
        since_start=past.since_start if past.interval else AGE_LONG,
    )
