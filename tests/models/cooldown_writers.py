"""The transactions of the cool-down model that end runs, requeue them, or lift a cool-down, lock by lock.

Knows no claim; what a commit means for the control rows is in `cooldown_rules.py`.
"""

from collections.abc import Iterator
from itertools import combinations

from tests.models.cooldown_rules import Rules
from tests.models.cooldown_state import (
    AGE_MAX,
    State,
    Step,
    Writer,
    put_writer,
    spend,
)

ENDS = {
    "complete": ("r", "d", ""),
    "fail": ("r", "t", "failures"),
    "die": ("r", "x", "deaths"),
    "lose": ("r", "p", "losses"),
    "cancel running": ("r", "c", "cancels"),
    "cancel": ("p", "c", "cancels"),
    "cancel retrying": ("t", "c", "cancels"),
    "requeue": ("x", "p", "requeues"),
}
"""Verb: the state that it expects, the one that it leaves, the budget that it uses up."""
COUNTED = frozenset({"fail", "die"})

Program = tuple[tuple[str, int], ...]


class Writers:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.size = rules.size
        self.weak = rules.weak
        self.programs: dict[tuple[str, tuple[int, ...]], Program] = {}

    def steps(self, s: State) -> Iterator[Step]:
        """Idle writers are alike: only the first of them begins something."""
        is_begun = False
        for index, writer in enumerate(s.writers):
            if writer.verb:
                yield from self._next(s, index, writer)
                if s.crashes:
                    crashed = put_writer(s, index, Writer())
                    yield f"{writer.verb} {writer.wanted} is rolled back", crashed._replace(crashes=s.crashes - 1)
            elif not is_begun:
                is_begun = True
                yield from self._begin(s, index)

    # What may begin.

    def _begin(self, s: State, index: int) -> Iterator[Step]:
        for verb, (source, _, budget) in ENDS.items():
            for wanted in self._candidates(s, source, has_batches=self.size.has_batches and budget in ("", "failures")):
                budgets = spend(s.budgets, budget) if budget else s.budgets
                if budgets and self._is_twice(s, wanted):
                    budgets = spend(budgets, "repeats")
                if budgets is not None:
                    begun = put_writer(s, index, Writer(verb, wanted))
                    yield f"{verb} {wanted} begins", begun._replace(budgets=budgets)
        if (budgets := spend(s.budgets, "lifts")) is not None:
            for task, control in enumerate(s.controls):
                if control.failing:
                    yield f"lift {task} begins", put_writer(s, index, Writer("lift", (task,)))._replace(budgets=budgets)
        if self.weak == "repeated_poll_under_lane" and (budgets := spend(s.budgets, "repeats")) is not None:
            for wanted in self._candidates(s, "r", has_batches=False):
                yield (
                    f"repeat {wanted} begins",
                    put_writer(s, index, Writer("repeat", wanted))._replace(budgets=budgets),
                )

    def _candidates(self, s: State, source: str, *, has_batches: bool) -> Iterator[tuple[int, ...]]:
        runs = [r for r, run in enumerate(s.runs) if run == source]
        yield from ((r,) for r in runs)
        if has_batches:
            yield from combinations(runs, 2)

    def _is_twice(self, s: State, wanted: tuple[int, ...]) -> bool:
        return any(set(wanted) & set(w.wanted) for w in s.writers if w.verb not in ("", "lift", "repeat"))

    # One step of a transaction.

    def _program(self, verb: str, wanted: tuple[int, ...]) -> Program:
        if (verb, wanted) not in self.programs:
            self.programs[verb, wanted] = self._written(verb, wanted)
        return self.programs[verb, wanted]

    def _written(self, verb: str, wanted: tuple[int, ...]) -> Program:
        lane, end = (("lane", 0),), (("commit", 0),)
        if verb == "lift":
            return (*lane, ("control", wanted[0]), *end)
        runs = tuple(("run", r) for r in wanted)
        if verb == "repeat":
            return (*lane, *runs, *end)
        tasks = list(dict.fromkeys(self.size.tasks[r] for r in wanted))
        if self.weak != "controls_in_any_order":
            tasks.sort()
        controls = tuple(("control", task) for task in tasks)
        if verb == "complete":
            if self.weak == "completion_locks_control_first":
                return (*controls, *runs, *end)
            if self.weak == "success_resets_apart":
                return (*runs, ("commit runs", 0), *controls, *end)
            return (*runs, *controls, *end)
        if verb in COUNTED or (verb == "lose" and self.weak == "lost_counts"):
            if self.weak == "failure_without_lane":
                return (*runs, *controls, *end)
            if self.weak == "control_before_lane":
                return (*runs, *controls, *lane, *end)
            return (*runs, *lane, *controls, *end)
        return (*runs, *end)

    def _next(self, s: State, index: int, w: Writer) -> Iterator[Step]:
        op, which = self._program(w.verb, w.wanted)[w.position]
        following = w._replace(position=w.position + 1)
        if op == "commit":
            yield f"{w.verb} {w.wanted} commits", self._committed(put_writer(s, index, Writer()), w)
            return
        if op == "commit runs":
            moved = self._moved(put_writer(s, index, following._replace(locks=0)), w)
            yield (
                f"{w.verb} {w.wanted} commits, its control row comes later",
                self.rules.remembered_success(moved, w.valid),
            )
            return
        if op == "control" and self._skips(s, w, which):
            skipped = self.rules.success_looked(s, which) if w.valid else s
            yield (
                f"{w.verb} {w.wanted} sees no failures",
                put_writer(skipped, index, following._replace(is_reset_skipped=True)),
            )
            return
        lock = self.rules.lock_of(op, which)
        if self.rules.is_held(s, lock, w.locks):
            return
        following = following._replace(locks=w.locks | lock)
        if op == "run" and (w.verb == "repeat" or s.runs[which] == ENDS[w.verb][0]):
            following = following._replace(valid=(*w.valid, which))
        yield f"{w.verb} {w.wanted} locks {op} {which}", put_writer(s, index, following)

    def _skips(self, s: State, w: Writer, task: int) -> bool:
        """An UPDATE does not wait for a row that its snapshot leaves out."""
        if w.verb != "lift" and not w.valid and self.weak != "completion_locks_control_first":
            return True
        return self.rules.is_hasty and w.verb == "complete" and not s.controls[task].failing

    # Commits.

    def _committed(self, s: State, w: Writer) -> State:
        if w.verb == "repeat":
            return s
        if w.verb == "lift":
            return self.rules.lifted(s, w.wanted[0])
        if not w.valid:
            return s
        if self.weak == "success_resets_apart" and w.verb == "complete":
            return self.rules.reset(s, w.valid, is_reset_skipped=False)
        s = self._moved(s, w)
        if w.verb == "complete":
            return self.rules.reset(
                self.rules.remembered_success(s, w.valid), w.valid, is_reset_skipped=w.is_reset_skipped
            )
        if w.verb in COUNTED:
            return self.rules.counted(self.rules.remembered_failure(s, w.valid, w.age), w.valid, w.age)
        if w.verb == "lose" and self.weak == "lost_counts":
            return self.rules.counted(s, w.valid, w.age)
        return s

    def _moved(self, s: State, w: Writer) -> State:
        target = ENDS[w.verb][1]
        return s._replace(runs=tuple(target if r in w.valid else run for r, run in enumerate(s.runs)))

    # Time.

    def is_old(self, s: State) -> bool:
        return any(w.age >= AGE_MAX for w in s.writers)

    def aged(self, s: State) -> tuple[Writer, ...]:
        """A failure reads the clock with its control row; until it commits, its age counts."""
        return tuple(
            w._replace(age=w.age + 1)
            if (w.verb in COUNTED or w.verb == "lose") and self.rules.has_control(w.locks)
            else w
            for w in s.writers
        )
