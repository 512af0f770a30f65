"""A small model of the claim: several coordinators start runs under limits, while runs end and people change things.

READ COMMITTED as Postgres has it: a statement sees what was committed when it began, a row that it locks is judged
again as it is then, and nobody sees a change before its commit. A claim is lock, survey, claim statement (one step per
row visited), commit; the rate row is written with the commit, since none but the holder of the lane touches it.
A coordinator may die at any step, which rolls its transaction back. Promotion is one step: it moves one row at a time.
"""

from collections.abc import Iterator

from tests.models.model_search import Violation
from tests.models.slot_plan import Planner, rate_free, widest_window
from tests.models.slot_state import (
    AGE_MAX,
    BUDGETS,
    FINAL,
    MOVES,
    WEAKENINGS,
    Claimer,
    Size,
    State,
    Step,
    canonical,
    put,
    put_claimer,
)

READS_BEFORE_LOCK = frozenset(
    {"one_statement", "counts_before_lock", "rate_read_before_lock", "clock_read_before_lock"}
)


class Model:
    """The steps out of a state; raises Violation where a step breaks a property.

    `is_lenient` judges a claim by the limits that it surveyed instead of those at its commit.
    """

    def __init__(self, size: Size, weakening: str = "", *, is_lenient: bool = False) -> None:
        if weakening and weakening not in WEAKENINGS:
            raise ValueError(f"unknown weakening {weakening!r}")
        self.size = size
        self.weak = weakening
        self.is_lenient = is_lenient
        self.planner = Planner(size, weakening)

    def start(self) -> State:
        return self.size.start()

    def canonical(self, state: State) -> State:
        return canonical(state)

    def is_end(self, state: State) -> bool:
        return all(run in FINAL for run in state.runs) and self._is_quiet(state)

    def steps(self, state: State) -> Iterator[Step]:
        if self._is_quiet(state):
            self._check_progress(state)
        for index, claimer in enumerate(state.claimers):
            if index and claimer == state.claimers[index - 1]:
                continue
            yield from self._of_claimer(state, index, claimer)
        for r in range(len(state.runs)):
            yield from self._of_run(state, r)
        yield from self._of_bulk(state)
        yield from self._of_people(state)
        yield from self._of_time(state)

    def _is_quiet(self, s: State) -> bool:
        return not (s.person or s.owed or s.bulk >= 0 or any(s.held) or any(c.stage for c in s.claimers))

    def _check_progress(self, s: State) -> None:
        free = self._rate_free(s, s.ahead)
        if free and any(self.planner.may_start(s, r) for r in range(len(s.runs))):
            for first in range(len(self.planner.lanes)):
                if not self.planner.starts_something(s, first, free):
                    raise Violation("a run may start, nothing is in its way, and a claim starts none")

    # The claim.

    def _of_claimer(self, s: State, index: int, c: Claimer) -> Iterator[Step]:
        if c.stage and s.crashes:
            yield "a claim dies", self._died(s, index, c)
        if c.stage == "":
            yield from self._begun(s, index)
        elif c.stage == "waiting" and self._is_lane_free(s):
            stage = {"one_statement": "taking", "counts_before_lock": "planned"}.get(self.weak, "locked")
            yield "a claim takes the lane", put_claimer(s, index, c._replace(stage=stage))
        elif c.stage == "locked":
            ahead, age = (c.ahead, 0) if self.weak == "rate_read_before_lock" else (s.ahead, c.age)
            yield from self._surveyed(s, index, c._replace(ahead=0, stamp=0), ahead + age)
        elif c.stage == "planned":
            yield (
                "a claim begins its claim",
                put_claimer(s, index, c._replace(stage="taking", seen=self._visible(s, c))),
            )
        elif c.stage == "taking":
            yield from self._visited(s, index, c)
        elif c.stage == "unwritten":
            yield "a claim writes its rate", self._rate_written(put_claimer(s, index, Claimer()), c)

    def _begun(self, s: State, index: int) -> Iterator[Step]:
        if self.weak in ("one_statement", "counts_before_lock"):
            yield from self._surveyed(s, index, Claimer(stage="waiting"), s.ahead)
        elif self.weak in READS_BEFORE_LOCK:
            ahead = s.ahead if self.weak == "rate_read_before_lock" else 0
            yield "a claim reads before the lock", put_claimer(s, index, Claimer(stage="waiting", ahead=ahead))
        elif self._is_lane_free(s):
            yield "a claim takes the lane", put_claimer(s, index, Claimer(stage="locked"))

    def _is_lane_free(self, s: State) -> bool:
        if self.weak == "no_lane_lock":
            return True
        return not s.person and all(c.stage in ("", "waiting", "unwritten") for c in s.claimers)

    def _surveyed(self, s: State, index: int, c: Claimer, ahead: int) -> Iterator[Step]:
        """The stored cursor, where the lanes begin, may stand anywhere."""
        free = self._rate_free(s, ahead)
        limits = s.limits if self.is_lenient else ()
        age = c.age if self.weak == "clock_read_before_lock" else 0
        for plan in {self.planner.plan(s, first, free) for first in range(len(self.planner.lanes))}:
            if not any(plan) and c.stage == "locked":
                yield "a claim finds nothing to start", put_claimer(s, index, Claimer())
                continue
            surveyed = c._replace(plan=plan, limits=limits, age=age, ahead=c.ahead)
            if c.stage == "locked":
                surveyed = surveyed._replace(stage="planned")
            elif self.weak == "one_statement":
                surveyed = surveyed._replace(seen=self._visible(s, surveyed))
            yield f"a claim surveys: {plan}", put_claimer(s, index, surveyed)

    def _rate_free(self, s: State, ahead: int) -> int:
        if self.weak == "fixed_window" and self.size.rate:
            return self.size.rate.burst - s.window[1]
        return rate_free(self.size.rate, ahead)

    def _visible(self, s: State, c: Claimer) -> tuple[int, ...]:
        return tuple(
            r
            for dealt, lane in zip(c.plan, self.planner.lanes, strict=True)
            if dealt
            for r in lane
            if s.runs[r] == "p" and (self.weak != "blocked_lane_is_dealt_slots" or self.planner.is_open(s, r))
        )

    def _visited(self, s: State, index: int, c: Claimer) -> Iterator[Step]:
        """The claim statement comes to its next row: FOR UPDATE SKIP LOCKED, per lane up to what was dealt to it."""
        if not c.seen:
            yield f"a claim commits {c.taken}", self._claimed(s, index, c)
            return
        r, c = c.seen[0], c._replace(seen=c.seen[1:])
        if s.held[r]:
            if self.weak != "skip_locked_left_out":
                yield f"a claim skips {r}", put_claimer(s, index, c)
            return
        if s.runs[r] != "p":
            if self.weak == "state_not_checked_again":
                raise Violation("a run was claimed that was not pending")
            yield f"a claim leaves {r}", put_claimer(s, index, c)
            return
        lane = next(i for i, runs in enumerate(self.planner.lanes) if r in runs)
        c = c._replace(taken=(*c.taken, r))
        limit = c.plan[lane] + (self.weak == "not_materialised")
        if sum(t in self.planner.lanes[lane] for t in c.taken) >= limit:
            c = c._replace(seen=tuple(other for other in c.seen if other not in self.planner.lanes[lane]))
        yield f"a claim takes {r}", put_claimer(s._replace(held=put(s.held, r, "*")), index, c)

    def _claimed(self, s: State, index: int, c: Claimer) -> State:
        runs, held, counters = s.runs, s.held, list(s.counters)
        for r in c.taken:
            runs, held = put(runs, r, "r"), put(held, r, "")
            if self.weak == "counter_column":
                for scope in self.planner.scopes_of[r]:
                    counters[scope] += 1
        s = s._replace(runs=runs, held=held, counters=tuple(counters))
        for scope in {scope for r in c.taken for scope in self.planner.scopes_of[r]}:
            self._check_scope(s, scope, c)
        s = put_claimer(s, index, Claimer())
        if not self.size.rate or not c.taken:
            return s
        s = s._replace(starts=tuple(sorted((*s.starts, *(c.stamp for _ in c.taken)))))
        if not widest_window(self.size.rate, s.starts):
            raise Violation("a window holds more starts than burst + length / interval")
        if self.weak == "rate_written_apart":
            return put_claimer(s, index, Claimer(stage="unwritten", taken=c.taken))
        return self._rate_written(s, c)

    def _check_scope(self, s: State, scope: int, c: Claimer) -> None:
        name = self.size.limits[scope][0]
        if not s.open_scopes[scope]:
            raise Violation(f"a run of the paused {name} was started")
        limit = c.limits[scope] if self.is_lenient else s.limits[scope]
        if (count := self.planner.running(s, scope)) > limit:
            raise Violation(f"{name}: {count} running, its limit is {limit}")

    def _rate_written(self, s: State, c: Claimer) -> State:
        assert self.size.rate
        count, base = len(c.taken), max(s.ahead, -c.age)
        if self.weak == "rate_read_before_lock":
            base = max(c.ahead, -c.age)
        window = (s.window[0], s.window[1] + count) if self.weak == "fixed_window" else s.window
        return s._replace(ahead=base + count * self.size.rate.interval, window=window)

    def _died(self, s: State, index: int, c: Claimer) -> State:
        held = tuple("" if r in c.taken and lock == "*" else lock for r, lock in enumerate(s.held))
        return put_claimer(s._replace(held=held, crashes=s.crashes - 1), index, Claimer())

    # Single runs: each move is a transaction of its own that holds the row until it commits.

    def _of_run(self, s: State, r: int) -> Iterator[Step]:
        run, lock = s.runs[r], s.held[r]
        if run in "wt" and not lock:
            target = "r" if self.weak == "retry_starts_itself" and run == "t" else "p"
            promoted = s._replace(runs=put(s.runs, r, target))
            if target == "r":
                for scope in self.planner.scopes_of[r]:
                    self._check_scope(promoted, scope, Claimer(limits=s.limits))
            yield f"{r} is promoted", promoted
        if lock == "":
            yield from self._moves(s, r)
        elif lock not in "*b":
            if s.crashes:
                yield f"{r}: rolled back", s._replace(held=put(s.held, r, ""), crashes=s.crashes - 1)
            yield f"{r}: committed, {lock}", self._moved(s, r)
        if r in s.owed:
            yield f"slot of {r} is counted down", self._counted_down(s, r)
            yield f"slot of {r} is forgotten in a crash", s._replace(owed=tuple(o for o in s.owed if o != r))

    def _moves(self, s: State, r: int) -> Iterator[Step]:
        for source, target, budget, label in MOVES:
            if s.runs[r] != source:
                continue
            budgets = s.budgets
            if budget:
                which = BUDGETS.index(budget)
                if not budgets[which]:
                    continue
                budgets = (*budgets[:which], budgets[which] - 1, *budgets[which + 1 :])
            yield f"{r} {label}", s._replace(held=put(s.held, r, target), budgets=budgets)

    def _moved(self, s: State, r: int) -> State:
        owed = s.owed
        if self.weak == "counter_column" and s.runs[r] == "r":
            owed = tuple(sorted((*owed, r)))
        return s._replace(runs=put(s.runs, r, s.held[r]), held=put(s.held, r, ""), owed=owed)

    def _counted_down(self, s: State, r: int) -> State:
        counters = list(s.counters)
        for scope in self.planner.scopes_of[r]:
            counters[scope] -= 1
        return s._replace(counters=tuple(counters), owed=tuple(o for o in s.owed if o != r))

    # Verbs over many runs, people and time.

    def _of_bulk(self, s: State) -> Iterator[Step]:
        """Cancel all that is pending: rows locked in id order, then one commit."""
        if s.bulk < 0:
            if s.bulks:
                yield "bulk cancel begins", s._replace(bulk=0, bulks=s.bulks - 1)
            return
        if s.bulk == len(s.runs):
            runs = tuple("c" if lock == "b" else run for run, lock in zip(s.runs, s.held, strict=True))
            held = tuple("" if lock == "b" else lock for lock in s.held)
            yield "bulk cancel commits", s._replace(runs=runs, held=held, bulk=-1)
        elif not s.held[s.bulk]:
            held = put(s.held, s.bulk, "b") if s.runs[s.bulk] == "p" else s.held
            yield f"bulk cancel passes {s.bulk}", s._replace(held=held, bulk=s.bulk + 1)

    def _of_people(self, s: State) -> Iterator[Step]:
        if s.changes == len(self.size.changes):
            return
        change = self.size.changes[s.changes]
        is_unlocked = self.weak == ("limit_unlocked" if change.verb == "limit" else "pause_unlocked")
        if not (s.person or is_unlocked):
            if self._is_lane_free(s):
                yield "a person takes the lane", s._replace(person=True)
            return
        s = s._replace(person=False, changes=s.changes + 1)
        name = self.size.limits[change.scope][0]
        if change.verb == "limit":
            limits = (*s.limits[: change.scope], change.value, *s.limits[change.scope + 1 :])
            yield f"limit of {name} is {change.value}", s._replace(limits=limits)
        else:
            opened = (*s.open_scopes[: change.scope], change.value, *s.open_scopes[change.scope + 1 :])
            yield f"{name} is {'resumed' if change.value else 'paused'}", s._replace(open_scopes=opened)

    def _of_time(self, s: State) -> Iterator[Step]:
        if not self.size.rate or any(c.stage and max(c.age, c.stamp) >= AGE_MAX for c in s.claimers):
            return
        rate = self.size.rate
        start_count = len(s.runs) + self.size.failures + self.size.releases + self.size.requeues
        horizon = max(0, start_count - rate.burst) * rate.interval
        reads_early = self.weak == "rate_read_before_lock"
        position = (s.window[0] + 1) % (rate.burst * rate.interval)
        claimers = tuple(
            c._replace(ahead=c.ahead - reads_early, age=c.age + 1, stamp=c.stamp + 1) if c.stage else c
            for c in s.claimers
        )
        yield (
            "a tick",
            s._replace(
                ahead=max(s.ahead - 1, -AGE_MAX),
                starts=tuple(age + 1 for age in s.starts if age < horizon),
                window=(position, s.window[1] if position else 0) if self.weak == "fixed_window" else s.window,
                claimers=claimers,
            ),
        )
