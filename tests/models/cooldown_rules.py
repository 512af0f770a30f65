"""What failures, successes and claims do to the control rows, and the ghosts that judge it. Knows no transaction."""

from tests.models.cooldown_state import (
    AGE_LONG,
    FAILING_MAX,
    FAILING_MIN,
    PROBE_MIN,
    Claim,
    Control,
    Past,
    Size,
    State,
    interval,
)
from tests.models.model_search import Violation


class Rules:
    """`is_lenient` lets a failure stay counted whose transaction overlapped that of the success."""

    def __init__(self, size: Size, weakening: str, *, is_lenient: bool) -> None:
        self.size = size
        self.weak = weakening
        self.is_lenient = is_lenient
        self.is_hasty = weakening == "reset_does_not_wait"
        self.control_bits = sum(self.lock_of("control", task) for task in range(max(size.tasks) + 1))

    # Locks: one bit each.

    def lock_of(self, op: str, which: int) -> int:
        if op == "lane":
            return 1
        return 2 << (which if op == "run" else len(self.size.tasks) + which)

    def is_held(self, s: State, lock: int, own: int) -> bool:
        """Whether another transaction holds it; `own` are the locks of the one that asks."""
        if own & lock:
            return False
        return any(c.locks & lock for c in s.claims) or any(w.locks & lock for w in s.writers)

    def has_control(self, locks: int) -> bool:
        return bool(locks & self.control_bits)

    # Control rows.

    def allowance(self, s: State, task: int) -> tuple[int, bool]:
        """Runs of the task that a claim may start, and whether it is a probe."""
        control = s.controls[task]
        running = sum(run == "r" and t == task for run, t in zip(s.runs, self.size.tasks, strict=True))
        room = max(0, min(self.size.capacity, self.size.limit - running))
        if len(control.failing) < FAILING_MIN:
            return room, False
        if control.cooling or self._is_probing(s, task, running) or self.weak == "no_probe":
            return 0, True
        return min(1, room), True

    def _is_probing(self, s: State, task: int, running: int) -> bool:
        """Whether the task's last probe still has its time."""
        control = s.controls[task]
        if self.weak == "all_runs_looked_at":
            return running > 0
        if control.probe < 0 or self.weak == "probe_not_looked_at":
            return False
        is_running = s.runs[control.probe] == "r" or self.weak == "probe_state_not_looked_at"
        return is_running and (control.probe_left > 0 or self.weak == "no_end_of_probes")

    def check_allowances(self, s: State) -> None:
        """Only its interval, its limit and a probe that has its time may hold back a task that cools."""
        for task, (control, past) in enumerate(zip(s.controls, s.past, strict=True)):
            running = sum(run == "r" and t == task for run, t in zip(s.runs, self.size.tasks, strict=True))
            if len(control.failing) < FAILING_MIN or control.cooling or running >= self.size.limit:
                continue
            if not self.allowance(s, task)[0] and not self._has_time(s.runs, past, 0):
                raise Violation("a task is held back by a run that does not probe it, or whose time is over")

    def _has_time(self, runs: tuple[str, ...], past: Past, age: int) -> bool:
        return past.probe >= 0 and runs[past.probe] == "r" and past.since_start - age < past.probe_time

    def counted(self, s: State, runs: tuple[int, ...], age: int) -> State:
        controls = list(s.controls)
        for task in {self.size.tasks[r] for r in runs}:
            control = controls[task]
            is_kept = len(control.failing) >= FAILING_MIN or self.weak == "probe_outlives_cool_down"
            failing = list(control.failing)
            for r in runs:
                is_new = r not in failing or self.weak == "failures_counted_twice"
                if self.size.tasks[r] == task and is_new and len(failing) < FAILING_MAX:
                    failing.append(r)
            probe, left = (control.probe, control.probe_left) if is_kept else (-1, 0)
            cooling = max(0, interval(len(failing)) - age)
            controls[task] = Control(tuple(sorted(failing)), cooling, probe, left)
        return s._replace(controls=tuple(controls))

    def reset(self, s: State, runs: tuple[int, ...], *, is_reset_skipped: bool) -> State:
        controls = list(s.controls)
        for task in {self.size.tasks[r] for r in runs}:
            if is_reset_skipped:
                s = self._excused(s, task, controls[task].failing)
                continue
            cooling = controls[task].cooling if self.weak == "success_keeps_cooling" else 0
            controls[task] = Control(cooling=cooling, probe=controls[task].probe, probe_left=controls[task].probe_left)
            s = s._replace(past=(*s.past[:task], s.past[task]._replace(excused=()), *s.past[task + 1 :]))
        return s._replace(controls=tuple(controls))

    def lifted(self, s: State, task: int) -> State:
        lifted = s.controls[task]._replace(failing=(), cooling=0)
        controls = (*s.controls[:task], lifted, *s.controls[task + 1 :])
        return s._replace(controls=controls, past=(*s.past[:task], Past(), *s.past[task + 1 :]))

    # Ghosts and what they judge.

    def remembered_success(self, s: State, runs: tuple[int, ...]) -> State:
        past = list(s.past)
        for task in {self.size.tasks[r] for r in runs}:
            past[task] = past[task]._replace(failed=(), interval=0, probe=-1, probe_time=0)
        return s._replace(past=tuple(past))

    def remembered_failure(self, s: State, runs: tuple[int, ...], age: int) -> State:
        past = list(s.past)
        for task in {self.size.tasks[r] for r in runs}:
            failed = set(past[task].failed) | {r for r in runs if self.size.tasks[r] == task}
            past[task] = past[task]._replace(failed=tuple(sorted(failed)), since_failure=age)
        return s._replace(past=tuple(past))

    def success_looked(self, s: State, task: int) -> State:
        """A success sees no failures and waits for none: those in flight may come to be counted after it."""
        lock = self.lock_of("control", task)
        return self._excused(s, task, tuple(r for w in s.writers if w.locks & lock for r in w.valid))

    def _excused(self, s: State, task: int, runs: tuple[int, ...]) -> State:
        if not self.is_lenient:
            return s
        excused = tuple(sorted({*runs, *s.past[task].excused}))
        return s._replace(past=(*s.past[:task], s.past[task]._replace(excused=excused), *s.past[task + 1 :]))

    def check_controls(self, s: State) -> None:
        """Between transactions a control row holds the distinct runs that failed since the last success."""
        for control, past in zip(s.controls, s.past, strict=True):
            failing, failed = set(control.failing), set(past.failed)
            if self.is_lenient:
                failed |= failing & set(past.excused)
            if not failing <= failed or len(control.failing) != min(len(failed), FAILING_MAX):
                raise Violation(f"failing runs are {control.failing}, but {past.failed} failed since the last success")
            if control.cooling and len(failing) < FAILING_MIN:
                raise Violation("a task cools that does not fail")

    def started(self, s: State, c: Claim) -> State:
        """The claim commits; judged by what is committed then, at the time that its survey read."""
        before = s.runs
        s = s._replace(runs=tuple("r" if r in c.taken else run for r, run in enumerate(s.runs)))
        for task in {self.size.tasks[r] for r in c.taken}:
            self._check_start(s, task, before, c)
            s = self._dispatched(s, task, c)
        return s

    def _check_start(self, s: State, task: int, before: tuple[str, ...], c: Claim) -> None:
        running = sum(run == "r" and t == task for run, t in zip(s.runs, self.size.tasks, strict=True))
        if running > self.size.limit:
            raise Violation(f"{running} runs of a task are running, its limit is {self.size.limit}")
        if any(before[r] != "p" for r in c.taken):
            raise Violation("a run was claimed that was not pending")
        past, pause = s.past[task], interval(len(s.controls[task].failing))
        if pause and sum(self.size.tasks[r] == task for r in c.taken) > 1:
            raise Violation("two runs of a cooling task were started at once")
        if pause and self._has_time(before, past, c.age):
            raise Violation("a probe was started while the one before it had its time")
        if pause and past.since_failure - c.age < pause:
            raise Violation("a run was started while its task was cooling")
        if pause and past.since_start - c.age < past.interval:
            raise Violation("two probes were started within the interval")

    def _dispatched(self, s: State, task: int, c: Claim) -> State:
        control, pause = s.controls[task], interval(len(s.controls[task].failing))
        run = next(r for r in c.taken if self.size.tasks[r] == task)
        if c.probes[task] and pause and self.weak != "claim_sets_no_interval":
            left = max(0, max(pause, PROBE_MIN) - c.age)
            control = control._replace(cooling=max(0, pause - c.age), probe=run, probe_left=left)
        past = s.past[task]._replace(
            since_start=c.age, interval=pause, probe=run if pause else -1,
            probe_time=max(pause, PROBE_MIN) if pause else 0,
        )  # fmt: skip
        return s._replace(
            controls=(*s.controls[:task], control, *s.controls[task + 1 :]),
            past=(*s.past[:task], past, *s.past[task + 1 :]),
        )

    def older(self, past: Past) -> Past:
        return past._replace(
            since_failure=min(past.since_failure + 1, AGE_LONG), since_start=min(past.since_start + 1, AGE_LONG)
        )

    def older_control(self, control: Control) -> Control:
        left = max(0, control.probe_left - 1)
        is_kept = left or self.weak in ("no_end_of_probes", "probe_state_not_looked_at")
        return Control(control.failing, max(0, control.cooling - 1), control.probe if is_kept else -1, left)
