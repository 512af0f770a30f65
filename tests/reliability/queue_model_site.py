"""The real side of the model: the verbs and statements on the test's database, under a clock that the test sets.

Owns two connections, as a coordinator's process has them: Django's and an asynchronous one. Judges nothing.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from django.db import connection
from psycopg.rows import dict_row

from apps.checkpoints import store
from apps.protocol import CheckpointItem, Finish, Lease
from apps.queues.claim import claimer as claims
from apps.runs import lifecycle
from apps.runs.states import Outcome
from apps.workers import leases
from apps.workers.models import Worker
from tests.factories import make_deployment, make_task
from tests.reliability.queue_model_terms import WORKERS, Attempt

MICROSECOND = timedelta(microseconds=1)

CLOCK = """
CREATE OR REPLACE FUNCTION trigger_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$SELECT {}$$
"""

EMPTY = """
DELETE FROM runs_attempt; DELETE FROM checkpoints_checkpoint; DELETE FROM runs_idempotencykey; DELETE FROM runs_value;
DELETE FROM runs_run; DELETE FROM runs_taskcontrol; DELETE FROM queues_queue; DELETE FROM queues_ratelimit;
DELETE FROM workers_pulse
"""

T = TypeVar("T")
Row = dict[str, Any]


@dataclass(frozen=True)
class Stored:
    """All rows that the model knows of."""

    runs: dict[UUID, Row]
    attempts: dict[tuple[UUID, int], Row]
    controls: dict[str, Row]
    arrivals: dict[tuple[str, str, str], int | None]


STORED = (
    b"""SELECT id, state, attempt_count, progress_attempt, budget_base, is_cancel_requested, priority, lease_end,
               due_at, has_run_out_of_memory, expires_at, worker_id, token, finished_at FROM runs_run""",
    b"""SELECT run_id, number, token, worker_id, poll_id, outcome, is_confirmed, answer ->> 'state' AS answer
        FROM runs_attempt""",
    b"SELECT task_id, failing_runs, cooling_until FROM runs_taskcontrol",
    b"SELECT scope, name, concurrency_key, arrives_at FROM queues_ratelimit",
)


class Site:
    """One database with the tasks of the model."""

    def __init__(self, url: str, tasks: dict[str, dict[str, object]]) -> None:
        self.base = datetime.now(UTC)
        self._runner = asyncio.Runner()
        self.database = self.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        self.claimer = claims.Claimer()
        with connection.cursor() as cursor:
            cursor.execute(CLOCK.format("current_setting('queue_model.now')::timestamptz"))
        deployment = make_deployment()
        for name, options in tasks.items():
            make_task(name, deployment=deployment, options=options)
        # They are there all along: what they have not confirmed has not begun.
        far = datetime(2099, 1, 1, tzinfo=UTC)
        Worker.objects.bulk_create(
            Worker(id=worker, name=str(worker), executor="process", concurrency=10, last_seen_at=far)
            for worker in WORKERS
        )

    def close(self) -> None:
        self.empty()
        with connection.cursor() as cursor:
            cursor.execute(CLOCK.format("clock_timestamp()"))
            cursor.execute("RESET queue_model.now")
        self.run(self.database.close())
        self._runner.close()

    def empty(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(EMPTY)
        self.claimer = claims.Claimer()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def set_clock(self, now: int) -> None:
        text = (self.base + now * MICROSECOND).isoformat()
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('queue_model.now', %s, false)", [text])
        self.run(self.database.execute("SELECT set_config('queue_model.now', %s, false)", [text]))

    def micros(self, at: datetime | None) -> int | None:
        return None if at is None else (at - self.base) // MICROSECOND

    # --- what a coordinator does

    def claim(self, *, worker: UUID, poll: UUID, limit: int, is_fresh: bool) -> claims.Claimed:
        claimer = claims.Claimer() if is_fresh else self.claimer
        return self.run(claimer.claim(self.database, worker_id=worker, poll_id=poll, limit=limit, confirm_seconds=10))

    def repeat(self, worker: UUID, poll: UUID) -> list[Any]:
        return self.run(claims.repeat(self.database, worker_id=worker, poll_id=poll, confirm_seconds=10))

    def promote(self) -> list[UUID]:
        return self.run(claims.promote_due(self.database))

    def start(self, attempts: Sequence[Attempt]) -> list[bool]:
        """Which of them are stale."""
        rows = self.run(
            lifecycle.START_ATTEMPTS.run_on(
                self.database, **_named(attempts), containers=["box"] * len(attempts),
                start_kinds=["cold"] * len(attempts), resumed_froms=[None] * len(attempts),
                running_seconds=[0.0] * len(attempts),
            )
        )  # fmt: skip
        return [row.is_stale for row in rows]

    def renew(self, worker: UUID, attempts: Sequence[Attempt]) -> dict[UUID, tuple[bool, bool]]:
        """By run: whether it is stale, and whether it is to be canceled."""
        named = [Lease(attempt.run.id, attempt.token) for attempt in attempts]
        rows = self.run(leases.renew(self.database, worker_id=worker, leases=named))
        return {row.run_id: (row.is_stale, row.is_cancel_requested) for row in rows}

    def save(self, attempt: Attempt, key: str, data: str) -> store.Saved:
        item = CheckpointItem(attempt.run.id, attempt.token, key, data.encode(), [], None, kind="step")
        (saved,) = self.run(store.save(self.database, [item]))
        assert saved is not None, "nobody else saves at the same time"
        return saved

    def complete(self, attempts: Sequence[Attempt]) -> list[tuple[bool, str | None]]:
        """Whether each is stale, and the outcome that its token has had before."""
        count = len(attempts)
        rows = self.run(
            lifecycle.COMPLETE_ATTEMPTS.run_on(
                self.database, **_named(attempts), outputs=["null"] * count, containers=["box"] * count,
                start_kinds=["cold"] * count, resumed_froms=[None] * count, running_seconds=[0.0] * count,
                peak_memory_bytes=[None] * count,
            )
        )  # fmt: skip
        return [(row.is_stale, row.outcome) for row in rows]

    def fail(self, attempts: Sequence[Attempt], outcome: str, **fields: Any) -> list[lifecycle.Answer]:
        return lifecycle.fail_attempts([Finish(a.run.id, a.token, Outcome(outcome), **fields) for a in attempts])

    # --- what there is

    def stored(self) -> Stored:
        return self.run(self._stored())

    async def _stored(self) -> Stored:
        async with self.database.pipeline():
            cursors = [await self.database.cursor(row_factory=dict_row).execute(text) for text in STORED]
            runs, attempts, controls, arrivals = [await cursor.fetchall() for cursor in cursors]
        return Stored(
            runs={row["id"]: row for row in runs},
            attempts={(row["run_id"], row["number"]): row for row in attempts},
            controls={row["task_id"]: row for row in controls},
            arrivals={
                (row["scope"], row["name"], row["concurrency_key"]): self.micros(row["arrives_at"]) for row in arrivals
            },
        )


def _named(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"run_ids": [attempt.run.id for attempt in attempts], "tokens": [attempt.token for attempt in attempts]}
