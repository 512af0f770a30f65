"""A small model of the cool-down of tasks that keep failing: claims, finishes, people and time around a control row.

The claim is lane lock, survey, one step per row visited (SKIP LOCKED), the control rows of its probes in task order,
commit. The other transactions are in `cooldown_writers.py`. What is locked is not seen changed by anybody else until
its commit, so a transaction's writes are carried out as it commits, with the clock as it read it.
"""

from collections.abc import Iterator

from tests.models.cooldown_rules import Rules
from tests.models.cooldown_state import (
    AGE_MAX,
    FAILING_MIN,
    FINAL,
    WEAKENINGS,
    Claim,
    Size,
    State,
    Step,
    canonical,
    is_quiet,
    put_claim,
)
from tests.models.cooldown_writers import Writers


class Model:
    """The steps out of a state; raises Violation where a step breaks a property."""

    def __init__(self, size: Size, weakening: str = "", *, is_lenient: bool = False) -> None:
        if weakening and weakening not in WEAKENINGS:
            raise ValueError(f"unknown weakening {weakening!r}")
        self.size = size
        self.weak = weakening
        self.rules = Rules(size, weakening, is_lenient=is_lenient)
        self.writers = Writers(self.rules)

    def start(self) -> State:
        return self.size.start()

    def canonical(self, state: State) -> State:
        return canonical(state)

    def is_end(self, state: State) -> bool:
        return all(run in FINAL for run in state.runs) and is_quiet(state)

    def steps(self, state: State) -> Iterator[Step]:
        if not any(w.verb for w in state.writers):
            self.rules.check_controls(state)
        for index, claim in enumerate(state.claims):
            if not index or claim != state.claims[index - 1]:
                yield from self._of_claim(state, index, claim)
        yield from self.writers.steps(state)
        for r, run in enumerate(state.runs):
            if run == "t" and not self.rules.is_held(state, self.rules.lock_of("run", r), 0):
                runs = (*state.runs[:r], "p", *state.runs[r + 1 :])
                yield f"{r} is promoted", state._replace(runs=runs)
        yield from self._of_time(state)

    def _of_claim(self, s: State, index: int, c: Claim) -> Iterator[Step]:
        if c.stage and s.crashes:
            yield "a claim dies", put_claim(s, index, Claim())._replace(crashes=s.crashes - 1)
        lane = self.rules.lock_of("lane", 0)
        is_lane_free = not self.rules.is_held(s, lane, 0)
        if not c.stage and self.weak == "control_read_before_lane":
            yield from self._surveyed(s, index, c, "waiting")
        elif not c.stage and is_lane_free:
            yield "a claim takes the lane", put_claim(s, index, Claim(stage="locked", locks=lane))
        elif c.stage == "waiting" and is_lane_free:
            yield "a claim takes the lane", put_claim(s, index, c._replace(stage="taking", locks=lane))
        elif c.stage == "locked":
            yield from self._surveyed(s, index, c, "taking")
        elif c.stage == "taking":
            yield self._visited(s, index, c)
        elif c.stage == "controls":
            yield from self._controls_locked(s, index, c)

    def _surveyed(self, s: State, index: int, c: Claim, stage: str) -> Iterator[Step]:
        """The free places of the worker may go to either task first: the cursor stands anywhere."""
        self.rules.check_allowances(s)
        allowances = [self.rules.allowance(s, task) for task in range(len(s.controls))]
        order = range(len(allowances))
        for first in order:
            left, plan = self.size.capacity, [0] * len(allowances)
            for task in (*order[first:], *order[:first]):
                pending = sum(run == "p" and t == task for run, t in zip(s.runs, self.size.tasks, strict=True))
                plan[task] = min(left, allowances[task][0], pending)
                left -= plan[task]
            if not any(plan):
                yield "a claim finds nothing to start", put_claim(s, index, Claim())
                return
            seen = tuple(r for r, run in enumerate(s.runs) if run == "p" and plan[self.size.tasks[r]])[::-1]
            probes = tuple(is_probe for _, is_probe in allowances)
            surveyed = c._replace(stage=stage, plan=tuple(plan), probes=probes, seen=seen)
            yield f"a claim surveys: {plan}", put_claim(s, index, surveyed)

    def _visited(self, s: State, index: int, c: Claim) -> Step:
        if not c.seen:
            tasks = {self.size.tasks[r] for r in c.taken}
            todo = () if self.weak == "claim_sets_no_interval" else tuple(sorted(t for t in tasks if c.probes[t]))
            return f"a claim has taken {c.taken}", put_claim(s, index, c._replace(stage="controls", todo=todo))
        r, c = c.seen[0], c._replace(seen=c.seen[1:])
        lock = self.rules.lock_of("run", r)
        if s.runs[r] != "p" or self.rules.is_held(s, lock, c.locks):
            return f"a claim skips {r}", put_claim(s, index, c)
        task = self.size.tasks[r]
        c = c._replace(taken=(*c.taken, r), locks=c.locks | lock)
        if sum(self.size.tasks[t] == task for t in c.taken) >= c.plan[task]:
            c = c._replace(seen=tuple(other for other in c.seen if self.size.tasks[other] != task))
        return f"a claim takes {r}", put_claim(s, index, c)

    def _controls_locked(self, s: State, index: int, c: Claim) -> Iterator[Step]:
        if not c.todo:
            yield f"a claim commits {c.taken}", self.rules.started(put_claim(s, index, Claim()), c)
            return
        lock = self.rules.lock_of("control", c.todo[0])
        if not self.rules.is_held(s, lock, c.locks):
            following = c._replace(todo=c.todo[1:], locks=c.locks | lock)
            yield f"a claim locks control {c.todo[0]}", put_claim(s, index, following)

    def _of_time(self, s: State) -> Iterator[Step]:
        if self.writers.is_old(s) or any(c.age >= AGE_MAX for c in s.claims):
            return
        if not any(len(control.failing) >= FAILING_MIN for control in s.controls) and is_quiet(s):
            return
        yield (
            "a tick",
            s._replace(
                controls=tuple(self.rules.older_control(control) for control in s.controls),
                past=tuple(self.rules.older(past) for past in s.past),
                claims=tuple(c._replace(age=c.age + 1) if c.stage not in ("", "locked") else c for c in s.claims),
                writers=self.writers.aged(s),
            ),
        )
