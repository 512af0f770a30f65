"""Model and database driven side by side: what people do, and what must be equal after every action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from apps.queues.bump import bump
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.queues.dead_letters.one import discard, requeue
from apps.runs.errors import IllegalMove
from apps.runs.lifecycle import cancel, trigger_batch
from tests.reliability.queue_model_claims import orders
from tests.reliability.queue_model_driver import ACTIONS, QUEUES, TASKS, action, numbers, picks, rates, seldom
from tests.reliability.queue_model_site import Row, Stored
from tests.reliability.queue_model_terms import BUMPED, FINAL, QueueTerms, Run
from tests.reliability.queue_model_writes import Writes

CANCELABLE = {"pending", "delayed", "retrying", "running", "canceled"}
MOVES = ["cancel", "requeue", "requeue", "requeue", "discard", "bump"]


class QueueMachine(Writes):
    """All actions; one rule chooses among them."""

    @initialize(batch=st.lists(orders, min_size=4, max_size=10))
    def begin(self, batch: list[dict[str, Any]]) -> None:
        self.history.append(("begin", {"batch": batch}))
        self._beat()
        self._trigger(batch, trigger_batch)

    @rule(data=st.data())
    def act(self, data: st.DataObject) -> None:
        possible = [each for each in ACTIONS if each.when(self) for _ in range(each.weight)]
        chosen = data.draw(st.sampled_from(possible), "action")
        arguments = {name: data.draw(each, name) for name, each in chosen.arguments.items()}
        self.history.append((chosen.method.__name__, arguments))
        chosen.method(self, **arguments)

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

    @action(
        when=lambda self: bool(self.model.runs),
        weight=3,
        pick=picks,
        verb=st.sampled_from(MOVES),
    )
    def move_run(self, pick: int, verb: str) -> None:
        getattr(self, f"_{verb}")(pick)

    def _cancel(self, pick: int) -> None:
        waiting = {"pending", "delayed", "retrying"}
        run = self._run(pick, waiting | {"running"})
        if self._move(run, CANCELABLE, lambda: cancel(run.id), "cancel"):
            if run.state in waiting:
                run.state, run.due_at = "canceled", None
            run.is_cancel_requested |= run.state == "running"

    def _requeue(self, pick: int) -> None:
        run = self._run(pick, {"dead_letter"})
        if self._move(run, {"dead_letter"}, lambda: requeue(run_id=run.id), "requeue"):
            run.state, run.is_cancel_requested, run.budget_base = "pending", False, len(run.attempts)

    def _discard(self, pick: int) -> None:
        run = self._run(pick, {"dead_letter"})
        if self._move(run, {"dead_letter"}, lambda: discard(run_id=run.id, note="seen"), "discard"):
            run.state = "discarded"

    def _bump(self, pick: int) -> None:
        run = self._run(pick, {"pending"})
        if self._move(run, {"pending"}, lambda: bump(run_id=run.id), "bump"):
            run.priority = BUMPED

    def teardown(self) -> None:
        """Where the steps have ended, each verb is refused by a run that it is not for."""
        for name, states, verb in (
            ("cancel", CANCELABLE, lambda run: cancel(run.id)),
            ("requeue", {"dead_letter"}, lambda run: requeue(run_id=run.id)),
            ("discard", {"dead_letter"}, lambda run: discard(run_id=run.id, note="seen")),
            ("bump", {"pending"}, lambda run: bump(run_id=run.id)),
        ):
            wrong = next((run for run in self.model.runs.values() if run.state not in states), None)
            if wrong is not None:
                self._move(wrong, states, partial(verb, wrong), name)
        super().teardown()

    @action(name=st.sampled_from(QUEUES), is_paused=seldom(True), limit=numbers, rate=rates, depth=seldom(3, 6))
    def set_queue(
        self, name: str, is_paused: bool | None, limit: int | None, rate: str | None, depth: int | None
    ) -> None:
        terms = QueueTerms(bool(is_paused), limit, rate, depth)
        set_queue(name, **asdict(terms))
        self.model.queues[name] = terms

    @action(
        name=st.sampled_from(sorted(TASKS)), is_paused=seldom(True), limit=numbers, total=numbers, rate=rates,
        per_key=rates, is_lifted=st.booleans(),
    )  # fmt: skip
    def set_task(
        self, name: str, is_paused: bool | None, limit: int | None, total: int | None, rate: str | None,
        per_key: str | None, is_lifted: bool,
    ) -> None:  # fmt: skip
        terms = self.model.tasks[name]
        if is_lifted:
            self._lift_cooldown(name)
        terms.is_paused = bool(is_paused)
        terms.overrides = {
            "max_concurrency": limit, "max_concurrency_total": total, "rate_limit": rate, "rate_limit_per_key": per_key
        }  # fmt: skip
        set_task(name, is_paused=terms.is_paused, **terms.overrides)  # type: ignore[arg-type]

    def _lift_cooldown(self, name: str) -> None:
        terms = self.model.tasks[name]
        assert lift_cooldown(name) == bool(terms.failing)
        self._saw(f"lift: {'cooling' if terms.is_cooling else 'failing' if terms.failing else 'nothing'}")
        if terms.failing:
            terms.failing, terms.cooling_until = set(), None

    # --- what must be equal

    @invariant()
    def all_is_equal(self) -> None:
        self._saw("step")
        stored = self.site.stored()
        self._compare_runs(stored.runs)
        self._compare_attempts(stored.attempts)
        self._compare_terms(stored)

    def _compare_runs(self, rows: Mapping[UUID, Row]) -> None:
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

    def _compare_attempts(self, rows: Mapping[tuple[UUID, int], Row]) -> None:
        stored = {
            place: (bytes(row["token"]), row["worker_id"], row["poll_id"], row["outcome"], row["is_confirmed"],
                    row["answer"])
            for place, row in rows.items()
        }  # fmt: skip
        assert stored == {
            (a.run.id, a.number): (a.token, a.worker, a.poll, a.outcome, a.is_confirmed, a.answer)
            for a in self.model.attempts
        }

    def _compare_terms(self, stored: Stored) -> None:
        for name, terms in self.model.tasks.items():
            row = stored.controls.get(name, {"failing_runs": [], "cooling_until": None})
            assert set(row["failing_runs"]) == terms.failing
            assert self.site.micros(row["cooling_until"]) == terms.cooling_until
        ahead = {bound: at for bound, at in stored.arrivals.items() if at is not None and at > self.model.now}
        assert ahead == {bound: at for bound, at in self.model.arrivals.items() if at > self.model.now}
