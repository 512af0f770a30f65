"""A small model of the lease protocol: one run, two workers, any number of coordinators, a network that repeats and
loses.

Time is abstract: a lease may end whenever its worker cannot have renewed it. A request that was sent once may be
carried out at any later moment and any number of times; each reply may be lost. `model_search.py` visits every state.
"""

from collections.abc import Iterator

from tests.models.lease_state import (
    ACTIVE,
    FINAL,
    WEAKENINGS,
    Attempt,
    Node,
    Size,
    State,
    Step,
    live_attempt,
    put,
    put_node,
    without_the_past,
)
from tests.models.model_search import Violation


class Model:
    """The steps out of a state; raises Violation where a step breaks a property."""

    def __init__(self, size: Size, weakening: str = "") -> None:
        if weakening and weakening not in WEAKENINGS:
            raise ValueError(f"unknown weakening {weakening!r}")
        self.size = size
        self.weak = weakening

    def start(self) -> State:
        return self.size.start()

    def canonical(self, state: State) -> State:
        return without_the_past(state)

    def is_end(self, state: State) -> bool:
        """Final, or cut off by the bound on attempts."""
        return state.run in FINAL or (
            len(state.attempts) == self.size.attempts and state.run in ("pending", "retrying")
        )

    def steps(self, state: State) -> Iterator[Step]:
        for index, node in enumerate(state.nodes):
            yield from self._of_node(state, index, node)
        for number, attempt in enumerate(state.attempts, 1):
            yield from self._of_attempt(state, number, attempt)
        yield from self._of_time(state)
        yield from self._of_people(state)

    # Workers and their polls.

    def _of_node(self, s: State, index: int, node: Node) -> Iterator[Step]:
        has_room = len(s.attempts) < self.size.attempts
        if node.has_stray_poll and has_room and s.database != "away" and self._is_claimable(s):
            later = put_node(s, index, node._replace(has_stray_poll=False))
            yield f"stray poll of {index} claims", self._claimed(later, index, is_of_open_poll=False)
        if node.mode == "up":
            if node.pauses:
                yield f"{index} freezes", self._frozen(s, index, node)
            if node.breaks and s.database == "up":
                broken = node._replace(breaks=node.breaks - 1, is_suspected=True, is_silent=True)
                yield f"connection of {index} breaks", put_node(s, index, broken)
            if s.crashes and index == 0:
                yield f"{index} dies", self._died(s, index, node)
        elif node.mode == "frozen":
            yield f"{index} wakes", put_node(s, index, node._replace(mode="up"))
        if node.poll and s.database != "away":
            yield from self._poll_answered(s, index, node)

    def _poll_answered(self, s: State, index: int, node: Node) -> Iterator[Step]:
        """The poll is carried out; its reply arrives, or is lost and the worker will repeat it."""
        can_hear = node.mode == "up"
        s = put_node(s, index, self._contacted(node))
        node = s.nodes[index]
        live = live_attempt(s)
        stored = live if live and s.attempts[live - 1].worker == index and s.attempts[live - 1].is_of_open_poll else 0
        if node.poll == "repeat" and stored:
            if self.weak == "repeat_poll_claims_anew":
                raise Violation("a repeated poll got another answer than the first")
            if self.weak != "repeat_poll_renews_nothing":
                s = s._replace(lease="")
            yield f"{index} is sent its claim again, reply lost", s
            if can_hear:
                yield f"{index} gets its claim again", self._delivered(s, index, stored)
            return
        if self._is_claimable(s) and len(s.attempts) < self.size.attempts:
            claimed = self._claimed(s, index, is_of_open_poll=True)
            lost = claimed.nodes[index]._replace(poll="repeat", has_stray_poll=False)
            yield f"{index} claims, reply lost", put_node(claimed, index, lost)
            if can_hear:
                yield f"{index} claims", self._delivered(claimed, index, len(claimed.attempts))
        elif can_hear:
            yield f"{index} gets nothing", put_node(s, index, node._replace(poll="first"))
            if s.strays and not node.has_stray_poll:
                stray = put_node(s, index, node._replace(poll="first", has_stray_poll=True))
                yield f"{index} gets nothing, a copy of its poll is on its way", stray._replace(strays=s.strays - 1)

    def _is_claimable(self, s: State) -> bool:
        return s.run == "pending" or (self.weak == "claim_ignores_state" and s.run == "running")

    def _claimed(self, s: State, index: int, *, is_of_open_poll: bool) -> State:
        if live_attempt(s):
            raise Violation("a run was claimed while an attempt was alive")
        if s.is_cancel_promised:
            raise Violation("a run was claimed after its cancel had been accepted")
        attempts = (*s.attempts, Attempt(worker=index, is_of_open_poll=is_of_open_poll))
        return s._replace(run="running", lease="", attempts=attempts)

    def _delivered(self, s: State, index: int, number: int) -> State:
        """The claim reached its worker, which ends what it still has of this run and polls anew."""
        if s.lease:
            raise Violation("a claim was sent whose lease had run out")
        attempts = tuple(
            a._replace(phase="loading", is_of_open_poll=False)
            if n == number and a.phase == "undelivered"
            else a._replace(phase="gone")
            if a.worker == index and n != number and a.phase in ACTIVE
            else a
            for n, a in enumerate(s.attempts, 1)
        )
        return put_node(s._replace(attempts=attempts), index, s.nodes[index]._replace(poll="first"))

    def _contacted(self, node: Node) -> Node:
        if not (node.is_suspected or node.is_silent):
            return node
        return node._replace(is_silent=False, is_suspected=node.is_suspected and self.weak == "suspicion_kept")

    def _frozen(self, s: State, index: int, node: Node) -> State:
        live = live_attempt(s)
        if s.lease == "excused" and live and s.attempts[live - 1].worker == index:
            s = s._replace(lease="over")
        return put_node(s, index, node._replace(mode="frozen", pauses=node.pauses - 1))

    def _died(self, s: State, index: int, node: Node) -> State:
        attempts = tuple(a._replace(phase="gone") if a.worker == index and a.phase in ACTIVE else a for a in s.attempts)
        dead = node._replace(mode="dead", poll="", is_suspected=s.database == "up", is_silent=True)
        return put_node(s._replace(attempts=attempts, crashes=s.crashes - 1), index, dead)

    # What an attempt does, and what it sent.

    def _of_attempt(self, s: State, number: int, a: Attempt) -> Iterator[Step]:
        node = s.nodes[a.worker]
        if node.mode == "up" and a.phase in ACTIVE:
            yield from self._inside(s, number, a)
            if s.database != "away":
                yield from self._beat(s, number, a, node)
        if s.database == "away":
            return
        for key in range(1, a.sent + 1):
            yield from self._checkpoint(s, number, a, key)
        if a.finish:
            yield from self._finish(s, number, a)

    def _inside(self, s: State, number: int, a: Attempt) -> Iterator[Step]:
        if a.phase == "loading" and s.database != "away":
            yield f"{number} loads", self._loaded(s, number, a)
        elif a.phase == "running" and a.passed < self.size.checkpoints:
            yield f"{number} sends checkpoint", put(s, number, a._replace(phase="saving", sent=a.passed + 1))
        elif a.phase == "running":
            yield f"{number} completes", put(s, number, a._replace(phase="finishing", finish="completed"))
        if a.phase == "running":
            yield f"{number} fails", put(s, number, a._replace(phase="finishing", finish="failed"))
            yield f"{number} is given back", put(s, number, a._replace(phase="finishing", finish="released"))
        if a.phase in ("running", "saving") and s.is_cancel_requested and live_attempt(s) == number:
            yield f"{number} is told to cancel", put(s, number, a._replace(phase="finishing", finish="canceled"))

    def _loaded(self, s: State, number: int, a: Attempt) -> State:
        if live_attempt(s) == number:
            return put(s, number, a._replace(phase="running", passed=len(s.checkpoints)))
        if self.weak == "stale_load_empty":
            if s.checkpoints:
                raise Violation("code runs again that an acknowledged checkpoint had passed")
            return put(s, number, a._replace(phase="running"))
        return put(s, number, a._replace(phase="gone"))

    def _beat(self, s: State, number: int, a: Attempt, node: Node) -> Iterator[Step]:
        contacted = put_node(s, a.worker, self._contacted(node))
        if live_attempt(s) == number:
            yield f"{number} renews", put(contacted, number, a._replace(is_confirmed=True))._replace(lease="")
        else:
            yield f"{number} learns that it is stale", put(contacted, number, a._replace(phase="gone"))

    def _passes_fence(self, s: State, number: int, a: Attempt, kind: str) -> bool:
        if self.weak == f"{kind}_unfenced":
            return True
        if self.weak == "fenced_by_worker":
            return s.run == "running" and s.attempts[-1].worker == a.worker
        if self.weak == "finish_ignores_state" and kind == "finish":
            return number == len(s.attempts) and s.attempts[-1].outcome != "completed"
        return live_attempt(s) == number

    def _checkpoint(self, s: State, number: int, a: Attempt, key: int) -> Iterator[Step]:
        is_awaited = a.phase == "saving" and key == a.sent and s.nodes[a.worker].mode == "up"
        if not self._passes_fence(s, number, a, "checkpoint"):
            if is_awaited:
                yield f"checkpoint of {number} is refused", put(s, number, a._replace(phase="gone"))
            return
        if live_attempt(s) != number:
            raise Violation("a checkpoint of an attempt that had ended was accepted")
        if key > len(s.checkpoints) and self.weak != "acknowledged_before_commit":
            s = s._replace(checkpoints=(*s.checkpoints, number))
            yield f"checkpoint of {number} is saved, reply lost", s
        if not is_awaited:
            return
        if key > len(s.checkpoints):
            raise Violation("an acknowledged checkpoint is not stored")
        yield f"checkpoint of {number} is acknowledged", put(s, number, a._replace(phase="running", passed=key))

    def _finish(self, s: State, number: int, a: Attempt) -> Iterator[Step]:
        if self._passes_fence(s, number, a, "finish"):
            if live_attempt(s) != number:
                raise Violation("a finish of an attempt that had ended was accepted")
            s = self._ended(s, number, a.finish)
            a, answer = s.attempts[number - 1], "ok"
        else:
            answer = self._repeated_answer(s, a)
        if a.answer and a.answer != answer:
            raise Violation("a repeated finish got another answer than the first")
        told = put(s, number, a._replace(answer=answer))
        yield f"finish of {number} is carried out, reply lost", told
        if a.phase == "finishing" and s.nodes[a.worker].mode == "up":
            yield (
                f"finish of {number} is answered",
                put(told, number, told.attempts[number - 1]._replace(phase="gone")),
            )

    def _repeated_answer(self, s: State, a: Attempt) -> str:
        if self.weak == "repeat_refused":
            return "stale"
        if self.weak == "repeat_by_run_state":
            return "ok" if s.run == a.finish else "stale"
        return "ok" if a.outcome == a.finish else "stale"

    def _ended(self, s: State, number: int, outcome: str) -> State:
        """The attempt ends and the run moves on, in one transaction."""
        if s.run in FINAL:
            raise Violation("a run left a final state")
        closed = s.attempts[number - 1]._replace(outcome=outcome, is_confirmed=False, is_of_open_poll=False)
        attempts = (*s.attempts[: number - 1], closed, *s.attempts[number:])
        is_stingy = self.weak == "requeue_without_budget"
        counts = [a.outcome for a in attempts[0 if is_stingy else s.granted :]]
        if outcome == "completed":
            run = "completed"
        elif s.is_cancel_requested or outcome == "canceled":
            run = "canceled"
        elif outcome == "failed":
            run = "dead_letter" if counts.count("failed") >= self.size.failures else "retrying"
        elif outcome == "lost":
            run = "dead_letter" if counts.count("lost") >= self.size.kills else "pending"
        else:
            run = "pending"
        if run == "dead_letter" and len(attempts) - s.granted < min(self.size.failures, self.size.kills):
            raise Violation("a requeued run was given up before its fresh budget was used")
        if self.weak == "cancel_forgotten" and outcome == "lost" and run == "canceled":
            run = "pending"
        return s._replace(run=run, attempts=attempts, lease="", is_cancel_requested=False)

    # Time: leases, promotion, the database.

    def _of_time(self, s: State) -> Iterator[Step]:
        live = live_attempt(s)
        if live and not s.lease:
            yield "the lease runs out", self._lease_over(s, live)
        if s.database != "away":
            yield from self._expiry(s, live)
            if s.run == "retrying" and self.weak != "no_promotion":
                yield "the run is due", s._replace(run="pending")
        if s.database == "up" and s.outages:
            yield "the database goes away", s._replace(database="away", outages=s.outages - 1, expiring=0)
        elif s.database == "away":
            yield "the database is back", s._replace(database="back")
        elif s.database == "back":
            yield "the pulse is stamped", s._replace(database="grace")
        elif s.database == "grace" and not self._is_waiting_for_renewal(s, live):
            yield "the grace ends", s._replace(database="up")

    def _lease_over(self, s: State, live: int) -> State:
        """A worker that is not frozen kills its attempt before the lease can end, unless the database is away."""
        a = s.attempts[live - 1]
        if not self._is_at_work(s, a):
            return s._replace(lease="over")
        if s.database == "up":
            return put(s, live, a._replace(phase="gone"))._replace(lease="over")
        return s._replace(lease="excused")

    def _is_waiting_for_renewal(self, s: State, live: int) -> bool:
        return bool(live) and s.lease == "excused" and self._is_at_work(s, s.attempts[live - 1])

    def _is_at_work(self, s: State, a: Attempt) -> bool:
        return a.phase in ACTIVE and s.nodes[a.worker].mode == "up"

    def _expiry(self, s: State, live: int) -> Iterator[Step]:
        if self.weak == "no_expiry":
            return
        if not s.expiring:
            if live and self._is_expired(s, live):
                yield f"the lease of {live} is found expired", s._replace(expiring=live)
            return
        number, s = s.expiring, s._replace(expiring=0)
        if self.weak == "expiry_ignores_state":
            yield f"{number} is ended", self._ended(s, number, "lost")
        elif live == number and self._is_expired(s, live):
            yield f"{number} is ended", self._expired(s, number)
        else:
            yield f"{number} is left alone", s

    def _is_expired(self, s: State, live: int) -> bool:
        if s.database == "grace" and self.weak != "grace_ignored":
            return False
        if s.database == "back" and self.weak != "pulse_age_ignored":
            return False
        a = s.attempts[live - 1]
        if self.weak == "unconfirmed_kept" and not a.is_confirmed:
            return False
        return bool(s.lease) or s.nodes[a.worker].is_suspected

    def _expired(self, s: State, number: int) -> State:
        a = s.attempts[number - 1]
        if s.lease == "excused" and self._is_at_work(s, a):
            raise Violation("the lease of a worker at work was ended")
        if not s.lease and not s.nodes[a.worker].is_silent:
            raise Violation("the lease of a worker in contact was ended")
        outcome = "lost" if a.is_confirmed or self.weak == "confirmation_ignored" else "released"
        if outcome == "lost" and a.phase == "undelivered":
            raise Violation("a claim that never arrived counted as a lost attempt")
        return self._ended(s, number, outcome)

    def _of_people(self, s: State) -> Iterator[Step]:
        if s.database == "away":
            return
        if s.requeues and s.run == "dead_letter":
            yield "requeued", s._replace(run="pending", granted=len(s.attempts), requeues=s.requeues - 1)
        if not s.cancels:
            return
        if s.run in ("pending", "retrying"):
            yield "canceled at once", s._replace(run="canceled", cancels=s.cancels - 1)
        elif s.run == "running":
            yield (
                "cancel requested",
                s._replace(is_cancel_requested=True, is_cancel_promised=True, cancels=s.cancels - 1),
            )
