"""What the model of the lease protocol is made of: its state, the bounds of a search, and the guards to take away."""

from dataclasses import dataclass
from typing import NamedTuple

FINAL = frozenset({"completed", "dead_letter", "canceled"})
ACTIVE = frozenset({"loading", "running", "saving", "finishing"})

WEAKENINGS = {
    "checkpoint_unfenced": "checkpoints are accepted from any attempt",
    "finish_unfenced": "finishes are accepted from any attempt",
    "fenced_by_worker": "the fence compares the worker instead of the token",
    "finish_ignores_state": "the fence of a finish does not name the state",
    "claim_ignores_state": "a claim takes a run that is running already",
    "expiry_ignores_state": "an expired lease is ended without looking at the run again",
    "repeat_poll_claims_anew": "a repeated poll is not answered with its earlier claims",
    "repeat_poll_renews_nothing": "a claim is sent again whose lease is about to end",
    "confirmation_ignored": "a claim that never arrived counts as a lost attempt",
    "grace_ignored": "leases end as soon as the database is back",
    "pulse_age_ignored": "leases end before anybody noticed that the database was away",
    "acknowledged_before_commit": "a checkpoint is acknowledged and then not stored",
    "repeat_refused": "a repeated finish is stale, since the run has no token any more",
    "repeat_by_run_state": "a repeated finish is judged by the run's present state",
    "no_expiry": "leases never end",
    "unconfirmed_kept": "a claim that never arrived is kept",
    "no_promotion": "nothing makes a retrying run pending",
    "cancel_forgotten": "a lost attempt forgets that its run is to be canceled",
    "suspicion_kept": "a contact does not end a suspicion",
    "requeue_without_budget": "a requeued run has only the attempts that were left",
    "stale_load_empty": "a stale token loads no checkpoints instead of being refused",
}


class Attempt(NamedTuple):
    """An attempt in the database (worker to answer) and in its worker (phase to finish)."""

    worker: int
    is_of_open_poll: bool
    outcome: str = ""
    is_confirmed: bool = False
    answer: str = ""
    """Ghost: what its first finish was told; every later one must be told the same."""
    phase: str = "undelivered"
    passed: int = 0
    """Checkpoints that it restored or had acknowledged."""
    sent: int = 0
    """The last checkpoint that it ever sent."""
    finish: str = ""
    """The outcome that it ever sent."""


class Node(NamedTuple):
    """A worker. `is_silent` is a ghost: it made no contact since its connection broke."""

    mode: str = "up"
    poll: str = "first"
    """A worker always keeps a poll open: first, or repeat after a lost reply."""
    has_stray_poll: bool = False
    """A copy of a poll that the worker no longer waits for may still be carried out."""
    is_suspected: bool = False
    is_silent: bool = False
    pauses: int = 1
    breaks: int = 1


class State(NamedTuple):
    run: str = "pending"
    is_cancel_requested: bool = False
    is_cancel_promised: bool = False
    """Ghost: a cancel was accepted while the run was running."""
    lease: str = ""
    """over: it has run out; excused: it has run out while the database was away and the worker at work"""
    database: str = "up"
    """up, away, back (nobody noticed yet), grace"""
    expiring: int = 0
    """The attempt that a coordinator found expired and is about to end."""
    checkpoints: tuple[int, ...] = ()
    """The attempt that saved each one."""
    attempts: tuple[Attempt, ...] = ()
    nodes: tuple[Node, Node] = (Node(), Node(pauses=0, breaks=0))
    granted: int = 0
    """Attempts before the last requeue, which began a fresh budget."""
    cancels: int = 0
    outages: int = 0
    crashes: int = 0
    strays: int = 0
    requeues: int = 0


@dataclass(frozen=True)
class Size:
    """The bounds of a search; events that happen by themselves happen at most so often."""

    attempts: int = 3
    checkpoints: int = 1
    failures: int = 2
    kills: int = 3
    cancels: int = 0
    outages: int = 0
    crashes: int = 0
    strays: int = 0
    requeues: int = 0
    pauses: tuple[int, int] = (1, 0)
    breaks: tuple[int, int] = (0, 0)

    def start(self) -> State:
        nodes = (Node(pauses=self.pauses[0], breaks=self.breaks[0]), Node(pauses=self.pauses[1], breaks=self.breaks[1]))
        return State(
            nodes=nodes,
            cancels=self.cancels,
            outages=self.outages,
            crashes=self.crashes,
            strays=self.strays,
            requeues=self.requeues,
        )


Step = tuple[str, State]


def without_the_past(s: State) -> State:
    """The state without what no later step can tell: fewer states, the same behaviour."""
    if any(a.phase == "gone" and a.passed for a in s.attempts):
        s = s._replace(attempts=tuple(a._replace(passed=0) if a.phase == "gone" else a for a in s.attempts))
    if s.run not in FINAL or (s.run == "dead_letter" and s.requeues):
        return s
    nodes = (_idle(s.nodes[0]), _idle(s.nodes[1]))
    return State(run=s.run, checkpoints=s.checkpoints, attempts=s.attempts, nodes=nodes, expiring=s.expiring)


def _idle(node: Node) -> Node:
    return Node(mode="up" if node.mode == "frozen" else node.mode, pauses=0, breaks=0)


def live_attempt(s: State) -> int:
    """The number of the attempt that may write; 0 where there is none."""
    if s.run == "running" and s.attempts and not s.attempts[-1].outcome:
        return len(s.attempts)
    return 0


def put(s: State, number: int, attempt: Attempt) -> State:
    return s._replace(attempts=(*s.attempts[: number - 1], attempt, *s.attempts[number:]))


def put_node(s: State, index: int, node: Node) -> State:
    return s._replace(nodes=(node, s.nodes[1]) if index == 0 else (s.nodes[0], node))
