"""Tasks under limits and the sessions that claim, complete and fail their runs at the same time. Judges nothing."""

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
from django.db import connections

from apps.protocol import Finish
from apps.queues.claim.claimer import Claimer, promote_due
from apps.queues.controls import set_queue, set_task
from apps.runs.lifecycle import COMPLETE_ATTEMPTS, fail_attempts
from apps.runs.models import Run, RunValue
from apps.runs.states import FINAL_STATES, Outcome
from apps.storage.statements import Statement
from tests.factories import make_deployment, make_task

CONFIRM_SECONDS = 10
DEADLINE_SECONDS = 240.0
PROMOTE_EVERY_SECONDS = 0.05
QUICK = {"max_attempts": 3, "initial": 0.02, "factor": 1, "max": 0.02}

Database = psycopg.AsyncConnection[Any]


def add_runs(task: str, count: int, *, queue: str = "", keys: Sequence[str] = ("",), **columns: Any) -> list[Run]:
    """Pending runs, their keys in turns."""
    runs = Run.objects.bulk_create(
        Run(task_id=task, queue=queue or task, concurrency_key=keys[n % len(keys)], **columns) for n in range(count)
    )
    RunValue.objects.bulk_create(RunValue(run=run, payload="{}") for run in runs)
    return runs


def make_tasks(tasks: Mapping[str, dict[str, Any]]) -> None:
    """One deployment with these tasks and their options."""
    deployment = make_deployment()
    for name, options in tasks.items():
        make_task(name, deployment=deployment, options={"retry": QUICK, **options})


async def complete(database: Database, rows: Sequence[Any]) -> None:
    """As a coordinator does: what others hold is asked for again."""
    left = list(rows)
    while left:
        answers = await _complete(database, left)
        left = [row for row, answer in zip(left, answers, strict=True) if answer.is_held]


async def _complete(database: Database, rows: Sequence[Any]) -> list[Any]:
    count = len(rows)
    return await COMPLETE_ATTEMPTS.run_on(
        database,
        waits=True,
        run_ids=[row.run_id for row in rows],
        tokens=[row.token for row in rows],
        outputs=["null"] * count,
        containers=["box"] * count,
        start_kinds=["cold"] * count,
        resumed_froms=[None] * count,
        running_seconds=[0.0] * count,
        peak_memory_bytes=[None] * count,
    )


def fail(rows: Sequence[Any]) -> None:
    """In a thread of its own, as a coordinator does."""
    try:
        fail_attempts([Finish(row.run_id, row.token, Outcome.FAILED, error={"type": "E"}) for row in rows])
    finally:
        connections.close_all()


@dataclass
class Crowd:
    """`size` sessions that share the runs; every session is a coordinator with a memory of its own."""

    url: str
    seed: int
    size: int = 8
    fail_share: float = 0.05
    claim_count: int = 0
    claimed_count: int = 0
    deadlock_count: int = 0
    is_over: bool = False
    _deadline: float = field(default_factory=lambda: time.monotonic() + DEADLINE_SECONDS)

    def work_off(self, *changes: "LimitChanger") -> None:
        """Until every run is final; the changers change limits meanwhile, and end with what they began with."""

        async def work_together() -> None:
            changing = [asyncio.create_task(changer.change_until(lambda: self.is_over)) for changer in changes]
            await asyncio.gather(*(self._work(number) for number in range(self.size)))
            await asyncio.gather(*changing)

        asyncio.run(work_together())

    async def _work(self, number: int) -> None:
        dice = random.Random(f"{self.seed}-{number}")
        claimer, promoted_at = Claimer(), 0.0
        held: list[Any] = []
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as database:
            while not self.is_over:
                assert time.monotonic() < self._deadline, f"{await _states(database)} after {DEADLINE_SECONDS:g} s"
                if number == 0 and time.monotonic() - promoted_at > PROMOTE_EVERY_SECONDS:
                    promoted_at = time.monotonic()
                    await promote_due(database)
                claimed = await claimer.claim(
                    database, worker_id=uuid4(), poll_id=uuid4(), limit=dice.choice((1, 4, 20)),
                    confirm_seconds=CONFIRM_SECONDS,
                )  # fmt: skip
                self.claim_count += 1
                self.claimed_count += len(claimed.rows)
                held += claimed.rows
                held = await self._finish_some(database, held, dice)
                if not claimed.rows and not held:
                    self.is_over = self.is_over or await _is_all_final(database)
                    await asyncio.sleep(min(claimed.again_in_seconds or 0.01, 0.05))

    async def _finish_some(self, database: Database, held: list[Any], dice: random.Random) -> list[Any]:
        """Some runs are kept for later, so that limits stay full while others are claimed."""
        ending = [row for row in held if dice.random() < 0.7]
        failing = [row for row in ending if dice.random() < self.fail_share]
        completing = [row for row in ending if row not in failing]
        try:
            if completing:
                await complete(database, completing)
        except psycopg.errors.DeadlockDetected:
            self.deadlock_count += 1
            completing = []
        if failing:
            await asyncio.to_thread(fail, failing)
        return [row for row in held if row not in completing and row not in failing]


@dataclass
class LimitChanger:
    """One person who changes one knob again and again, and puts it back at the end."""

    seed: int
    queues: Mapping[str, Sequence[int | None]]
    tasks: Mapping[str, Mapping[str, Sequence[int | None]]]
    change_count: int = 0

    async def change_until(self, is_over: Any) -> None:
        dice = random.Random(f"{self.seed}-limits")
        while not is_over():
            await asyncio.to_thread(self._change, dice)
            self.change_count += 1
            await asyncio.sleep(dice.uniform(0.0, 0.02))

    def _change(self, dice: random.Random) -> None:
        try:
            if dice.random() < len(self.queues) / (len(self.queues) + len(self.tasks)):
                queue = dice.choice(list(self.queues))
                set_queue(queue, max_concurrency=dice.choice(self.queues[queue]), is_paused=dice.random() < 0.1)
            else:
                task = dice.choice(list(self.tasks))
                name = dice.choice(list(self.tasks[task]))
                change = {name: dice.choice(self.tasks[task][name]), "is_paused": dice.random() < 0.1}
                set_task(task, **change)  # type: ignore[arg-type]
        finally:
            connections.close_all()


@contextmanager
def replaced_text(wanted: Statement, old: str, new: str) -> Iterator[None]:
    """The statement with a planted fault; fails where there is nothing to replace."""
    before = wanted.text
    assert old in before, f"{old!r} is not in {wanted.name}"
    wanted.text = before.replace(old, new)
    try:
        yield
    finally:
        wanted.text = before


async def _is_all_final(database: Database) -> bool:
    final = ", ".join(f"'{state}'" for state in sorted(FINAL_STATES))
    cursor = await database.execute(f"SELECT NOT EXISTS (SELECT FROM runs_run WHERE state NOT IN ({final}))".encode())
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _states(database: Database) -> dict[str, int]:
    cursor = await database.execute("SELECT state, count(*) FROM runs_run GROUP BY state")
    return dict(await cursor.fetchall())
