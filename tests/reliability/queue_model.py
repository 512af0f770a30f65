"""What a queue is, in plain Python: runs, attempts, limits and one clock. Written from the contract, not from the SQL.

Where the contract leaves a choice (which of equal lanes is served first, the jitter of a backoff, the token of an
attempt) the model takes what the database did, and checks that it was allowed. Times are microseconds from the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from tests.reliability.queue_model_terms import (
    BUDGET,
    CONFIRM,
    COOLING_FROM,
    KILLS,
    PROBE,
    RATES,
    SECOND,
    Attempt,
    Bound,
    QueueTerms,
    Rate,
    Run,
    TaskTerms,
)


@dataclass
class Model:
    queues: dict[str, QueueTerms]
    tasks: dict[str, TaskTerms]
    now: int = 0
    beat_at: int = 0
    resumed_at: int | None = None
    runs: dict[UUID, Run] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    arrivals: dict[Bound, int] = field(default_factory=dict)
    """GCRA: when the next run of a rate is due if all come evenly."""

    # --- what bounds a claim

    def bounds(self, run: Run) -> Iterator[Bound]:
        yield "queue", run.queue, ""
        yield "task", run.task, ""
        yield "key", run.task, run.key

    def slots(self, bound: Bound) -> int | None:
        """How many more may run under the limit; None where there is none."""
        scope, name, key = bound
        running = [run for run in self.runs.values() if run.state == "running"]
        if scope == "queue":
            limit, count = self.queues[name].max_concurrency, sum(run.queue == name for run in running)
        elif scope == "task":
            limit, count = self._number(name, "max_concurrency_total"), sum(run.task == name for run in running)
            if self.tasks[name].is_cooling:
                room = 0 if self._is_probing(name) else 1
                return room if limit is None else min(room, limit - count)
        else:
            limit = self._number(name, "max_concurrency")
            count = sum((run.task, run.key) == (name, key) for run in running)
        return None if limit is None else limit - count

    def _is_probing(self, task: str) -> bool:
        terms = self.tasks[task]
        return terms.probe is not None and terms.probe.state == "running" and self.now < terms.probe_until

    def _number(self, task: str, name: str) -> int | None:
        value = self.tasks[task].effective(name)
        assert value is None or isinstance(value, int)
        return value

    def rate(self, bound: Bound) -> Rate | None:
        scope, name, _ = bound
        if scope == "queue":
            text: object = self.queues[name].rate_limit
        else:
            text = self.tasks[name].effective("rate_limit" if scope == "task" else "rate_limit_per_key")
        return RATES[str(text)] if text else None

    def starts_left(self, bound: Bound) -> int | None:
        rate = self.rate(bound)
        if rate is None:
            return None
        slack = (rate.burst - 1) * rate.interval - max(0, self.arrivals.get(bound, 0) - self.now)
        return max(0, slack // rate.interval + 1)

    def room(self, bound: Bound) -> int | None:
        """The smaller of both; None where nothing bounds."""
        rooms = [room for room in (self.slots(bound), self.starts_left(bound)) if room is not None]
        return min(rooms, default=None)

    def is_open(self, run: Run) -> bool:
        """Whether a claim may take the run as far as no limit is concerned."""
        task = self.tasks[run.task]
        return (
            run.state == "pending"
            and not self.queues[run.queue].is_paused
            and not task.is_paused
            and (task.cooling_until is None or task.cooling_until <= self.now)
            and not self._is_late(run)
        )

    def _is_late(self, run: Run) -> bool:
        return run.expires_at is not None and not run.attempts and run.expires_at <= self.now

    # --- claims

    def claim(self, taken: list[Attempt], limit: int, *, is_exact: bool) -> None:
        """Takes over what one claim has taken; `is_exact`: by someone who knew all lanes as they are."""
        runs = [attempt.run for attempt in taken]
        assert len(set(runs)) == len(runs) <= limit, f"{len(runs)} runs for a limit of {limit}"
        open_before = [run for run in self.runs.values() if self.is_open(run)]
        for run in runs:
            assert run in open_before, f"{run.state} run of {run.lane} was claimed"
        self._check_rooms(runs)
        left = [run for run in open_before if run not in runs]
        if is_exact:
            self._check_order(runs, open_before)
        for attempt in taken:
            self._start(attempt)
        for run in runs:
            if self.tasks[run.task].is_cooling:
                self._cool(run.task)
                self._probe(run)
        if is_exact:
            self._check_order_between_tasks(runs, left)

    def _check_rooms(self, runs: list[Run]) -> None:
        wanted = Counter(bound for run in runs for bound in self.bounds(run))
        for bound, count in wanted.items():
            room = self.room(bound)
            assert room is None or count <= room, f"{count} runs claimed under {bound}, with room for {room}"

    def _check_order(self, runs: list[Run], open_before: list[Run]) -> None:
        for run in runs:
            earlier = [o for o in open_before if o.lane == run.lane and o.turn < run.turn and o not in runs]
            assert not earlier, f"in {run.lane} a run was taken before {len(earlier)} whose turn was earlier"

    def _check_order_between_tasks(self, runs: list[Run], left: list[Run]) -> None:
        """Inside one queue and key a run yields to another task's only where its own task or key is full."""
        for run in runs:
            for other in left:
                if (other.queue, other.key) == (run.queue, run.key) and other.turn < run.turn:
                    rooms = [self.room(bound) for bound in self.bounds(other) if bound[0] != "queue"]
                    assert 0 in rooms or any(room is not None and room < 0 for room in rooms), (
                        f"{run.lane} went before {other.lane}, whose turn was earlier and which nothing else held back"
                    )

    def check_nothing_left(self) -> None:
        """Nobody found anything more to claim: so every open run has a bound without room.

        A run whose time is over hides others until it is ended: a share was kept for it.
        """
        if any(run.state == "pending" and not self.is_open(run) and self._is_late(run) for run in self.runs.values()):
            return
        for run in self.runs.values():
            if self.is_open(run):
                rooms = {bound: self.room(bound) for bound in self.bounds(run)}
                assert any(room is not None and room <= 0 for room in rooms.values()), (
                    f"{run.lane} was left although there is room: {rooms}"
                )

    def _start(self, attempt: Attempt) -> None:
        run = attempt.run
        assert attempt.number == len(run.attempts) + 1
        assert attempt.token not in {other.token for other in self.attempts}
        run.attempts.append(attempt)
        self.attempts.append(attempt)
        run.state, run.lease_end = "running", self.now + CONFIRM
        for bound in self.bounds(run):
            rate = self.rate(bound)
            if rate is not None:
                self.arrivals[bound] = max(self.arrivals.get(bound, 0), self.now) + rate.interval

    def _cool(self, task: str) -> None:
        terms = self.tasks[task]
        if terms.is_cooling:
            terms.cooling_until = self.now + min(300, 2 ** (len(terms.failing) - COOLING_FROM)) * SECOND

    def _probe(self, run: Run) -> None:
        terms = self.tasks[run.task]
        assert terms.cooling_until is not None
        terms.probe, terms.probe_until = run, max(terms.cooling_until, self.now + PROBE)

    # --- ends of attempts

    def complete(self, attempt: Attempt) -> bool:
        """False for a token that is not the present one."""
        if not attempt.is_live:
            return False
        self._end(attempt, "completed", "completed")
        terms = self.tasks[attempt.run.task]
        if terms.failing:
            terms.failing, terms.cooling_until = set(), None
        return True

    def fail(self, attempt: Attempt, outcome: str, *, retry_after: float | None, is_abort: bool) -> str | None:
        """The run's next state, or the answer of the first time; None for a token that is not the present one."""
        if not attempt.is_live:
            return attempt.answer if attempt.outcome == outcome else None
        run = attempt.run
        state, self.delay_range = self._next(attempt, outcome, retry_after, is_abort)
        if outcome in BUDGET:
            terms = self.tasks[run.task]
            terms.probe = terms.probe if terms.is_cooling else None
            terms.failing.add(run.id)
            self._cool(run.task)
        run.has_run_out_of_memory |= outcome == "out_of_memory"
        self._end(attempt, outcome, state)
        return state

    delay_range: tuple[int, int] | None = None
    """Between which delays the retry that `fail` has asked for may come."""

    def _next(
        self, attempt: Attempt, outcome: str, retry_after: float | None, is_abort: bool
    ) -> tuple[str, tuple[int, int] | None]:
        run = attempt.run
        counted = [other for other in run.attempts if other.number > run.budget_base and other is not attempt]
        if run.is_cancel_requested or outcome == "canceled":
            return "canceled", None
        if is_abort:
            return "dead_letter", None
        kills = sum(o.outcome in KILLS and o.number >= run.progress_attempt for o in counted)
        if outcome in KILLS and kills + 1 >= 3:
            return "dead_letter", None
        if outcome in BUDGET:
            failures = sum(other.outcome in BUDGET for other in counted) + 1
            if failures >= run.max_attempts:
                return "dead_letter", None
            if retry_after is not None:
                return "retrying", (round(retry_after * SECOND),) * 2
            delay = min(3600, 5 * 4 ** (failures - 1)) * SECOND
            return "retrying", (delay // 2, delay)
        if outcome == "start_failed":
            return self._next_start(run, counted)
        return "pending", None

    def _next_start(self, run: Run, counted: list[Attempt]) -> tuple[str, tuple[int, int] | None]:
        failures = 1
        for other in reversed(counted):
            if other.outcome not in {"start_failed", "released"}:
                break
            failures += other.outcome == "start_failed"
        if failures >= 8:
            return "dead_letter", None
        return "retrying", (min(600, 3 ** (failures - 1)) * SECOND,) * 2

    def _end(self, attempt: Attempt, outcome: str, state: str) -> None:
        attempt.outcome, attempt.answer = outcome, state
        attempt.is_confirmed |= outcome == "completed"
        attempt.run.state, attempt.run.lease_end = state, None

    def expired(self) -> list[Attempt]:
        """The attempts whose lease has ended, while the database can be trusted to have been there."""
        if self.beat_at < self.now - 15 * SECOND:
            return []
        if self.resumed_at is not None and self.now <= self.resumed_at + 60 * SECOND:
            return []
        live = [run for run in self.runs.values() if run.state == "running"]
        return [run.attempts[-1] for run in live if run.lease_end is not None and run.lease_end < self.now]

    def beat(self) -> None:
        if self.beat_at < self.now - 15 * SECOND:
            self.resumed_at = self.now
        self.beat_at = self.now
