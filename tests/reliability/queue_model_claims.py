"""Actions of the model's machine: runs are triggered, claimed and promoted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from hypothesis import strategies as st

from apps.queues.errors import QueueFull
from apps.runs.errors import IdempotencyConflict
from apps.runs.lifecycle import trigger, trigger_batch
from tests.reliability.queue_model_driver import (
    KEY_TTL_SECONDS,
    KEYS,
    QUEUES,
    TASKS,
    Driver,
    action,
    mostly,
    picks,
    seldom,
)
from tests.reliability.queue_model_terms import SECOND, WORKERS, Attempt, Run

orders = st.fixed_dictionaries(
    {
        "task": st.sampled_from(sorted(TASKS)),
        "queue": st.sampled_from(QUEUES),
        "concurrency_key": st.sampled_from(KEYS),
        "priority": seldom(-5, 5),
        "delay": seldom(3, 20),
        "ttl": seldom(2, 30),
        "max_attempts": seldom(1, 2, 2, 5),
        "idempotency_key": seldom("k1"),
    }
).map(lambda order: {name: value for name, value in order.items() if value is not None})


class Claims(Driver):
    """Ends with the claim; what workers write is elsewhere."""

    # --- triggering

    @action(weight=3, batch=st.lists(orders, min_size=1, max_size=4))
    def trigger(self, batch: list[dict[str, Any]]) -> None:
        self._trigger(batch, trigger_batch if len(batch) > 1 else _trigger_alone)

    def _trigger(self, batch: list[dict[str, Any]], verb: Callable[[list[dict[str, Any]]], list[Any]]) -> None:
        items = [_item_of(order) for order in batch]
        expected = self._judge(batch)
        made: list[Any] = []
        refused: type[Exception] | None = None
        try:
            made = verb(items)
        except (IdempotencyConflict, QueueFull) as refusal:
            refused = type(refusal)
        if refused is not None or not isinstance(expected, list):
            assert expected is refused, f"{refused} instead of {expected}"
            self._saw(f"trigger refused: {refused.__name__}")
            return
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

    @action(weight=4, worker=st.sampled_from(WORKERS), limit=st.integers(1, 8), is_started=mostly)
    def claim_knowing_nothing(self, worker: UUID, limit: int, is_started: bool) -> None:
        self._claim(worker, limit, is_fresh=True, is_started=is_started)

    @action(weight=2, worker=st.sampled_from(WORKERS), limit=st.integers(1, 8), is_started=mostly)
    def claim_by_memory(self, worker: UUID, limit: int, is_started: bool) -> None:
        self._claim(worker, limit, is_fresh=False, is_started=is_started)

    def _claim(self, worker: UUID, limit: int, *, is_fresh: bool, is_started: bool) -> None:
        taken = self._claim_up_to(worker, limit, is_fresh=is_fresh)
        if is_started:
            self._start(taken)

    def _start(self, attempts: list[Attempt]) -> None:
        assert self.site.start(attempts) == [not attempt.is_live for attempt in attempts]
        for attempt in attempts:
            attempt.is_confirmed |= attempt.is_live
            self._saw(f"start: {'live' if attempt.is_live else 'stale'}")

    def _claim_up_to(self, worker: UUID, limit: int, *, is_fresh: bool) -> list[Attempt]:
        """By as many polls as it takes: each is answered with claims once."""
        found: list[Attempt] = []
        left = limit
        while left:
            poll = uuid4()
            self.polls.append((worker, poll))
            claimed = self.site.claim(worker=worker, poll=poll, limit=left, is_fresh=is_fresh)
            taken = [self._taken(row, worker, poll) for row in claimed.rows]
            self.model.claim(taken, left, is_exact=is_fresh)
            found += taken
            left -= len(taken)
            self._saw(f"claim: {'some' if taken else 'none'}")
            if is_fresh and left and not taken:
                self.model.check_nothing_left()
                return found
            is_fresh = True
        return found

    def _taken(self, row: Any, worker: UUID, poll: UUID) -> Attempt:
        run = self.model.runs[row.run_id]
        assert row.has_checkpoints == (run.progress_attempt > 0)
        assert (row.max_attempts, row.has_run_out_of_memory) == (run.max_attempts, run.has_run_out_of_memory)
        return Attempt(run, row.attempt, bytes(row.token), worker, poll)

    @action(when=lambda self: bool(self.polls), pick=picks)
    def repeat_poll(self, pick: int) -> None:
        worker, poll = self.polls[-1 - pick % len(self.polls)]
        rows = self.site.repeat(worker, poll)
        live = [attempt for attempt in self.model.attempts if attempt.poll == poll and attempt.is_live]
        assert {(row.run_id, bytes(row.token)) for row in rows} == {(a.run.id, a.token) for a in live}
        for attempt in live:
            attempt.run.lease_end = max(attempt.run.lease_end or 0, self.model.now + 10 * SECOND)
        self._saw(f"repeat: {'claims' if live else 'nothing'}")

    def _promote(self) -> None:
        due = [run for run in self.model.runs.values() if run.due_at is not None and run.due_at <= self.model.now]
        assert set(self.site.promote()) == {run.id for run in due}
        for run in due:
            self._saw(f"promote: {run.state}")
            run.state, run.due_at = "pending", None


def _trigger_alone(items: list[dict[str, Any]]) -> list[Any]:
    return [trigger(item["task"], item["payload"], **item["options"]) for item in items]


def _item_of(order: dict[str, Any]) -> dict[str, Any]:
    options = {name: value for name, value in order.items() if name != "task"}
    if "idempotency_key" in options:
        options["idempotency_key_ttl"] = KEY_TTL_SECONDS
    return {"task": order["task"], "payload": {}, "options": options}
