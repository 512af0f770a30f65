"""The rules by which model and database are driven side by side, and what must be equal after each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID, uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.queues.bump import bump
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.queues.dead_letters import discard, requeue
from apps.queues.errors import QueueFull
from apps.runs.errors import IdempotencyConflict, IllegalMove
from apps.runs.lifecycle import cancel, expire_runs, trigger, trigger_batch
from apps.workers.leases import expire_leases, stamp_pulse
from tests.reliability.queue_model import (
    BUDGET,
    BUMPED,
    FINAL,
    LEASE,
    RATES,
    SECOND,
    Attempt,
    Model,
    QueueTerms,
    Run,
    TaskTerms,
)
from tests.reliability.queue_model_site import Site

QUEUES = ["deep", "wide"]
TASKS: dict[str, dict[str, object]] = {
    "alpha": {"max_concurrency": 2, "max_concurrency_total": 3},
    "beta": {"rate_limit": "20/m"},
    "gamma": {"rate_limit_per_key": "60/m"},
}
KEYS = ["", "a", "b"]
WORKERS = [UUID(int=1), UUID(int=2)]
OUTCOMES = [*sorted(BUDGET), "failed", "crashed", "lost", "start_failed", "canceled", "suspended", "released"]
PULSE = 5 * SECOND
KEY_TTL_SECONDS = 30

picks = st.integers(0, 10_000)
numbers = st.none() | st.integers(1, 3)
rates = st.none() | st.sampled_from(sorted(RATES))
orders = st.fixed_dictionaries(
    {"task": st.sampled_from(sorted(TASKS)), "queue": st.sampled_from(QUEUES), "concurrency_key": st.sampled_from(KEYS)},
    optional={
        "priority": st.sampled_from([-5, 5]),
        "delay": st.sampled_from([3, 20]),
        "ttl": st.sampled_from([2, 30]),
        "max_attempts": st.integers(1, 5),
        "idempotency_key": st.sampled_from(["k1", "k2"]),
    },
)


class QueueMachine(RuleBasedStateMachine):
    """Model beside database; `site` is set by whoever runs it."""

    site: ClassVar[Site]
    coverage: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.site.empty()
        self.model = Model(
            {name: QueueTerms() for name in QUEUES}, {name: TaskTerms(options) for name, options in TASKS.items()}
        )
        self.keys: dict[tuple[str, str], tuple[Run, dict[str, Any], int]] = {}
        self.polls: list[tuple[UUID, UUID]] = []
        self.site.set_clock(0)

    @initialize()
    def begin(self) -> None:
        self._beat()

    def _saw(self, what: str) -> None:
        self.coverage[what] += 1

    def _beat(self) -> None:
        stamp_pulse()
        self.model.beat()

    def _attempt(self, pick: int, *, is_live: bool) -> Attempt:
        live = [attempt for attempt in self.model.attempts if attempt.is_live]
        chosen = live if is_live and live else self.model.attempts
        return chosen[pick % len(chosen)]

    def _run(self, pick: int, states: set[str]) -> Run:
        """A run, most of the time in one of these states."""
        runs = list(self.model.runs.values())
        wanted = [run for run in runs if run.state in states]
        chosen = wanted if wanted and pick % 8 else runs
        return chosen[pick // 8 % len(chosen)]

    # --- triggering

    @rule(order=orders)
    def trigger_one(self, order: dict[str, Any]) -> None:
        self._trigger([order], lambda items: [trigger(items[0]["task"], {}, **items[0]["options"])])

    @rule(batch=st.lists(orders, min_size=2, max_size=5))
    def trigger_many(self, batch: list[dict[str, Any]]) -> None:
        self._trigger(batch, trigger_batch)

    def _trigger(self, batch: list[dict[str, Any]], verb: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
        items = [_item_of(order) for order in batch]
        expected = self._judge(batch)
        try:
            made = verb(items)
        except (IdempotencyConflict, QueueFull) as refusal:
            assert expected == type(refusal), f"{refusal!r} instead of {expected}"
            self._saw(f"trigger refused: {type(refusal).__name__}")
            return
        assert isinstance(expected, list), f"triggered, but was to raise {expected}"
        for order, known, run in zip(batch, expected, made, strict=True):
            assert bool(getattr(run, "is_duplicate", False)) == (known is not None)
            if known is None:
                self._add(order, run.id)
            else:
                known = known if isinstance(known, Run) else self.keys[order["task"], order["idempotency_key"]][0]
                assert run.id == known.id
                self._saw("trigger: known key")

    def _judge(self, batch: list[dict[str, Any]]) -> list[Run | bool | None] | type[Exception]:
        """By item: None for a new run, else the known one, or True for one that this batch makes."""
        found: list[Run | bool | None] = []
        inside: dict[tuple[str, str], dict[str, Any]] = {}
        for order in batch:
            name = (order["task"], order.get("idempotency_key", ""))
            known = self.keys.get(name)
            is_known = known is not None and known[2] > self.model.now
            if not name[1] or (not is_known and name not in inside):
                found.append(None)
                inside |= {name: order} if name[1] else {}
                continue
            first = known[1] if known is not None and is_known else inside[name]
            if first != order:
                return IdempotencyConflict
            found.append(known[0] if known is not None and is_known else True)
        fresh = Counter(order["queue"] for order, known in zip(batch, found, strict=True) if known is None)
        for queue, count in fresh.items():
            depth = sum(run.queue == queue and run.state in {"pending", "delayed"} for run in self.model.runs.values())
            limit = self.model.queues[queue].max_depth
            if limit is not None and depth + count > limit:
                return QueueFull
        return found

    def _add(self, order: dict[str, Any], run_id: UUID) -> None:
        due_at = self.model.now + order["delay"] * SECOND if "delay" in order else None
        run = Run(
            id=run_id, task=order["task"], queue=order["queue"], key=order["concurrency_key"],
            priority=order.get("priority", 0), max_attempts=order.get("max_attempts", 3),
            state="pending" if due_at is None else "delayed", due_at=due_at,
            expires_at=(due_at or self.model.now) + order["ttl"] * SECOND if "ttl" in order else None,
        )  # fmt: skip
        self.model.runs[run_id] = run
        if "idempotency_key" in order:
            until = self.model.now + KEY_TTL_SECONDS * SECOND
            self.keys[order["task"], order["idempotency_key"]] = (run, order, until)
        self._saw(f"trigger: {run.state}")

    # --- claiming

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 8), is_fresh=st.booleans())
    def claim(self, worker: UUID, limit: int, is_fresh: bool) -> None:
        poll = uuid4()
        self.polls.append((worker, poll))
        left = limit
        while left:
            claimed = self.site.claim(worker=worker, poll=poll, limit=left, is_fresh=is_fresh)
            taken = [self._taken(row, worker, poll) for row in claimed.rows]
            self.model.claim(taken, left, is_exact=is_fresh)
            left -= len(taken)
            self._saw(f"claim: {'some' if taken else 'none'}")
            if is_fresh and left and (not taken or claimed.again_in_seconds is None):
                self.model.check_nothing_left()
                return
            is_fresh = True

    def _taken(self, row: Any, worker: UUID, poll: UUID) -> Attempt:
        run = self.model.runs[row.run_id]
        assert row.has_checkpoints == (run.progress_attempt > 0)
        assert (row.max_attempts, row.has_run_out_of_memory) == (run.max_attempts, run.has_run_out_of_memory)
        return Attempt(run, row.attempt, bytes(row.token), worker, poll)

    @precondition(lambda self: self.polls)
    @rule(pick=picks)
    def repeat_poll(self, pick: int) -> None:
        worker, poll = self.polls[pick % len(self.polls)]
        rows = self.site.repeat(worker, poll)
        live = [attempt for attempt in self.model.attempts if attempt.poll == poll and attempt.is_live]
        assert {(row.run_id, bytes(row.token)) for row in rows} == {(a.run.id, a.token) for a in live}
        for attempt in live:
            attempt.run.lease_end = max(attempt.run.lease_end or 0, self.model.now + 10 * SECOND)
        self._saw(f"repeat: {'claims' if live else 'nothing'}")

    @rule()
    def promote(self) -> None:
        due = [run for run in self.model.runs.values() if run.due_at is not None and run.due_at <= self.model.now]
        assert set(self.site.promote()) == {run.id for run in due}
        for run in due:
            self._saw(f"promote: {run.state}")
            run.state, run.due_at = "pending", None

    # --- what workers write

    @precondition(lambda self: self.model.attempts)
    @rule(picked=st.lists(picks, min_size=1, max_size=3), is_live=st.booleans())
    def start(self, picked: list[int], is_live: bool) -> None:
        attempts = list(dict.fromkeys(self._attempt(pick, is_live=is_live) for pick in picked))
        assert self.site.start(attempts) == [not attempt.is_live for attempt in attempts]
        for attempt in attempts:
            attempt.is_confirmed |= attempt.is_live
            self._saw(f"start: {'live' if attempt.is_live else 'stale'}")

    @precondition(lambda self: self.model.attempts)
    @rule(picked=st.lists(picks, min_size=1, max_size=4), worker=st.sampled_from(WORKERS), is_live=st.booleans())
    def renew(self, picked: list[int], worker: UUID, is_live: bool) -> None:
        attempts = {(a := self._attempt(pick, is_live=is_live)).run: a for pick in picked}
        answers = self.site.renew(worker, list(attempts.values()))
        for run, attempt in attempts.items():
            is_held = attempt.is_live and attempt.worker == worker
            assert answers[run.id] == (not is_held, is_held and run.is_cancel_requested)
            if is_held:
                run.lease_end, attempt.is_confirmed = self.model.now + LEASE, True
            self._saw(f"renew: {'held' if is_held else 'stale'}")

    @precondition(lambda self: self.model.attempts)
    @rule(pick=picks, is_live=st.booleans(), key=st.sampled_from(["one", "two"]), data=st.sampled_from(["1", "2"]))
    def save(self, pick: int, is_live: bool, key: str, data: str) -> None:
        attempt = self._attempt(pick, is_live=is_live)
        run, known = attempt.run, attempt.run.saved.get(key)
        verdict = "stale"
        if attempt.is_live:
            verdict = "saved" if known is None else "repeated" if known[1] == data else "conflict"
        saved = self.site.save(attempt, key, data)
        assert saved.verdict == verdict
        if verdict == "saved":
            assert saved.index == len(run.saved)
            run.saved[key] = (saved.index, data)
            run.progress_attempt = attempt.number
        self._saw(f"save: {verdict}")

    @precondition(lambda self: self.model.attempts)
    @rule(picked=st.lists(picks, min_size=1, max_size=3), is_live=st.booleans())
    def complete(self, picked: list[int], is_live: bool) -> None:
        attempts = list(dict.fromkeys(self._attempt(pick, is_live=is_live) for pick in picked))
        before = {attempt: attempt.outcome for attempt in attempts}
        answers = self.site.complete(attempts)
        for attempt, (is_stale, outcome) in zip(attempts, answers, strict=True):
            is_done = self.model.complete(attempt)
            assert is_stale == (not is_done)
            if is_stale:
                assert outcome == before[attempt]
            self._saw(f"complete: {'done' if is_done else 'repeated' if outcome == 'completed' else 'stale'}")

    @precondition(lambda self: self.model.attempts)
    @rule(
        picked=st.lists(picks, min_size=1, max_size=2), is_live=st.booleans(), outcome=st.sampled_from(OUTCOMES),
        retry_after=st.sampled_from([None, None, 0.0, 7.5]), is_abort=st.sampled_from([False] * 7 + [True]),
    )  # fmt: skip
    def fail(
        self, picked: list[int], is_live: bool, outcome: str, retry_after: float | None, is_abort: bool
    ) -> None:
        attempts = list(dict.fromkeys(self._attempt(pick, is_live=is_live) for pick in picked))
        answers = self.site.fail(attempts, outcome, retry_after_seconds=retry_after, is_abort=is_abort)
        for attempt, answer in zip(attempts, answers, strict=True):
            was_live = attempt.is_live
            state = self.model.fail(attempt, outcome, retry_after=retry_after, is_abort=is_abort)
            assert (answer.is_stale, answer.state) == (state is None, state or "")
            self._saw(f"fail: {'repeated or stale' if not was_live else f'{outcome} -> {state}'}")
            if was_live and state == "retrying":
                self._take_due_time(attempt.run)

    def _take_due_time(self, run: Run) -> None:
        """The jitter is the database's choice, within its range."""
        due_at = self.site.micros(self.site.runs()[run.id]["due_at"])
        assert due_at is not None
        assert self.model.delay_range is not None
        low, high = self.model.delay_range
        assert low - 1 <= due_at - self.model.now <= high + 1, f"retry after {due_at - self.model.now} µs"
        run.due_at = due_at

    # --- leases and time

    @rule(seconds=st.sampled_from([1, 4, 11, 61, 130]), has_pulse=st.sampled_from([True, True, True, False]))
    def pass_time(self, seconds: int, has_pulse: bool) -> None:
        """A coordinator stamps the pulse all the time, or the database is away as long."""
        until = self.model.now + seconds * SECOND
        while self.model.now < until:
            self.model.now = min(until, self.model.now + PULSE) if has_pulse else until
            self.site.set_clock(self.model.now)
            self._beat()

    @rule()
    def expire_ended_leases(self) -> None:
        expected = self.model.expired()
        assert set(expire_leases()) == {attempt.run.id for attempt in expected}
        for attempt in expected:
            outcome = "lost" if attempt.is_confirmed else "released"
            state = self.model.fail(attempt, outcome, retry_after=None, is_abort=False)
            self._saw(f"expire: {outcome} -> {state}")

    @rule()
    def expire_waiting_runs(self) -> None:
        late = [
            run for run in self.model.runs.values()
            if run.state in {"pending", "delayed"} and not run.attempts
            and run.expires_at is not None and run.expires_at <= self.model.now
        ]  # fmt: skip
        assert set(expire_runs()) == {run.id for run in late}
        for run in late:
            run.state, run.due_at = "expired", None
            self._saw("expired")

    # --- what people do

    def _move(self, run: Run, from_states: set[str], verb: Callable[[], object], to: str) -> bool:
        """Whether the verb moved the run; it must refuse just where the run is in another state."""
        try:
            verb()
        except IllegalMove:
            assert run.state not in from_states, f"{to} refused for a {run.state} run"
            self._saw(f"{to} refused")
            return False
        assert run.state in from_states, f"{to} of a {run.state} run was not refused"
        self._saw(f"{to} of {run.state}")
        return True

    @precondition(lambda self: self.model.runs)
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        waiting = {"pending", "delayed", "retrying"}
        run = self._run(pick, waiting | {"running"})
        if self._move(run, waiting | {"running", "canceled"}, lambda: cancel(run.id), "cancel"):
            if run.state in waiting:
                run.state, run.due_at = "canceled", None
            run.is_cancel_requested |= run.state == "running"

    @precondition(lambda self: self.model.runs)
    @rule(pick=picks)
    def requeue(self, pick: int) -> None:
        run = self._run(pick, {"dead_letter"})
        if self._move(run, {"dead_letter"}, lambda: requeue(run_id=run.id), "requeue"):
            run.state, run.is_cancel_requested, run.budget_base = "pending", False, len(run.attempts)

    @precondition(lambda self: self.model.runs)
    @rule(pick=picks)
    def discard(self, pick: int) -> None:
        run = self._run(pick, {"dead_letter"})
        if self._move(run, {"dead_letter"}, lambda: discard(run_id=run.id, note="seen"), "discard"):
            run.state = "discarded"

    @precondition(lambda self: self.model.runs)
    @rule(pick=picks)
    def bump(self, pick: int) -> None:
        run = self._run(pick, {"pending"})
        if self._move(run, {"pending"}, lambda: bump(run_id=run.id), "bump"):
            run.priority = BUMPED

    @rule(
        name=st.sampled_from(QUEUES), is_paused=st.sampled_from([False, False, True]), limit=numbers, rate=rates,
        depth=st.none() | st.integers(1, 6),
    )  # fmt: skip
    def set_queue(self, name: str, is_paused: bool, limit: int | None, rate: str | None, depth: int | None) -> None:
        set_queue(name, is_paused=is_paused, max_concurrency=limit, rate_limit=rate, max_depth=depth)
        self.model.queues[name] = QueueTerms(is_paused, limit, rate, depth)

    @rule(
        name=st.sampled_from(sorted(TASKS)), is_paused=st.sampled_from([False, False, True]), limit=numbers,
        total=numbers, rate=rates, per_key=rates,
    )  # fmt: skip
    def set_task(
        self, name: str, is_paused: bool, limit: int | None, total: int | None, rate: str | None, per_key: str | None
    ) -> None:
        overrides: dict[str, Any] = {
            "max_concurrency": limit, "max_concurrency_total": total, "rate_limit": rate, "rate_limit_per_key": per_key
        }  # fmt: skip
        set_task(name, is_paused=is_paused, **overrides)
        terms = self.model.tasks[name]
        terms.is_paused, terms.overrides = is_paused, overrides

    @rule(name=st.sampled_from(sorted(TASKS)))
    def lift_cooldown(self, name: str) -> None:
        terms = self.model.tasks[name]
        assert lift_cooldown(name) == bool(terms.failing)
        self._saw(f"lift: {'cooling' if terms.is_cooling else 'nothing'}")
        if terms.failing:
            terms.failing, terms.cooling_until = set(), None

    # --- what must be equal

    @invariant()
    def runs_are_equal(self) -> None:
        rows = self.site.runs()
        assert rows.keys() == self.model.runs.keys()
        for run in self.model.runs.values():
            row = rows[run.id]
            live = run.attempts[-1] if run.state == "running" else None
            stored = (
                row["state"], row["attempt_count"], row["progress_attempt"], row["budget_base"], row["priority"],
                row["is_cancel_requested"], row["has_run_out_of_memory"], self.site.micros(row["lease_end"]),
                self.site.micros(row["due_at"]), self.site.micros(row["expires_at"]), row["worker_id"],
                None if row["token"] is None else bytes(row["token"]), row["finished_at"] is not None,
            )  # fmt: skip
            expected = (
                run.state, len(run.attempts), run.progress_attempt, run.budget_base, run.priority,
                run.is_cancel_requested, run.has_run_out_of_memory, run.lease_end, run.due_at, run.expires_at,
                live and live.worker, live and live.token, run.state in FINAL,
            )  # fmt: skip
            assert stored == expected, f"{run.lane}: stored {stored}, expected {expected}"
            self.coverage[f"state {run.state}"] += 1

    @invariant()
    def attempts_are_equal(self) -> None:
        stored = {
            place: (bytes(row["token"]), row["worker_id"], row["poll_id"], row["outcome"], row["is_confirmed"],
                    row["answer"])
            for place, row in self.site.attempts().items()
        }  # fmt: skip
        assert stored == {
            (a.run.id, a.number): (a.token, a.worker, a.poll, a.outcome, a.is_confirmed, a.answer)
            for a in self.model.attempts
        }

    @invariant()
    def terms_are_equal(self) -> None:
        controls = self.site.controls()
        for name, terms in self.model.tasks.items():
            row = controls.get(name, {"failing_runs": [], "cooling_until": None})
            assert set(row["failing_runs"]) == terms.failing
            assert self.site.micros(row["cooling_until"]) == terms.cooling_until
        stored = {bound: at for bound, at in self.site.arrivals().items() if at is not None and at > self.model.now}
        assert stored == {bound: at for bound, at in self.model.arrivals.items() if at > self.model.now}


def _item_of(order: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in order.items() if name != "task"}
    if "idempotency_key" in options:
        options["idempotency_key_ttl"] = KEY_TTL_SECONDS
    return {"task": order["task"], "payload": {}, "options": options}
