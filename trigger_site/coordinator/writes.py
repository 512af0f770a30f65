"""The kinds of batches that workers send: each turns messages into one statement and verdicts into results."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection, connections, transaction

from apps.checkpoints import store
from apps.checkpoints.errors import CheckpointRefused
from apps.live.notify import announce_now
from apps.live.topics import RUNS, TASKS
from apps.runs import logs
from apps.runs.lifecycle import ATTEMPT_FACTS, COMPLETE_ATTEMPTS, START_ATTEMPTS, Answer, AttemptEnd, fail_attempts
from apps.runs.logs import storable_error
from apps.runs.states import Outcome
from apps.storage.statements import bytes_array, is_held, uuid_array
from apps.storage.values import storable_fields
from apps.workers.protocol import CheckpointItem, Finish, LogBatch, Result, Start

from .batches import HELD, HELD_IN_A_ROW, BatchWriter
from .database import PATIENT_POOL_MAX_SIZE, Connection, Database, DatabaseAwayError
from .values import refused_outputs

logger = logging.getLogger(__name__)

DONE = Result(200, state="completed")
STALE = Result(409, "stale", "The attempt token is not the run's present one.")
COMPLETED = Outcome.COMPLETED.value
FAILURES = frozenset(outcome.value for outcome in Outcome) - {COMPLETED}
MESSAGES = {
    "stale": STALE,
    "conflict": Result(409, "conflict", "The key was saved before with other data."),
    "limit": Result(422, "limit", f"A run may have {store.COUNT_MAX:,} checkpoints and steps."),
    "full": Result(
        422,
        "limit",
        f"With this the run would have stored more than {store.STORED_MAX_BYTES:,} bytes: keep large data in a store "
        "of yours, and save its address.",
    ),
}
FAILURE_THREADS = 2
"""So that a batch which waits for a whole table holds up no other."""


class Writers:
    """One writer per kind of batch."""

    def __init__(self, database: Database) -> None:
        self._failures = Failures(database.patience_seconds)
        self._starts: BatchWriter[Start] = BatchWriter("starts", database, write_starts, lambda _: 100)
        self._checkpoints: BatchWriter[CheckpointItem] = BatchWriter(
            "checkpoints", database, write_checkpoints, lambda item: len(item.data) + len(item.carried or b"")
        )
        self._logs: BatchWriter[LogBatch] = BatchWriter("logs", database, write_logs, _size_of_logs)
        self._completions: BatchWriter[Finish] = BatchWriter(
            "completions", database, write_completions, lambda item: len(item.output or b"")
        )

    async def starts(self, items: Sequence[Start]) -> list[Result]:
        return await self._starts.submit(items)

    async def logs(self, items: Sequence[LogBatch]) -> list[Result]:
        return await self._logs.submit(items)

    async def checkpoints(self, items: Sequence[CheckpointItem]) -> list[Result]:
        """Refuses what breaks a limit before it reaches a batch."""
        refused: dict[int, Result] = {}
        for position, item in enumerate(items):
            try:
                store.check(_new_checkpoint(item))
            except CheckpointRefused as error:
                refused[position] = Result(413 if error.code == "too_large" else 422, error.code, error.detail)
        saved = iter(await self._checkpoints.submit([i for n, i in enumerate(items) if n not in refused]))
        return [refused.get(position) or next(saved) for position in range(len(items))]

    async def finishes(self, items: Sequence[Finish]) -> list[Result]:
        """Completions are batched on the loop; failures go through the verb, in a thread: they decide in Python."""
        if refused := refused_outputs(items):
            stored = iter(await self.finishes([item for n, item in enumerate(items) if n not in refused]))
            return [refused.get(position) or next(stored) for position in range(len(items))]
        completed = [item for item in items if item.outcome == COMPLETED]
        if len(completed) == len(items):
            return await self._completions.submit(completed)
        failed = [item for item in items if item.outcome in FAILURES]
        done, ended = await asyncio.gather(self._completions.submit(completed), self._failures.submit(failed))
        results = {True: iter(done), False: iter(ended)}
        known = FAILURES | {COMPLETED}
        return [
            next(results[item.outcome == COMPLETED]) if item.outcome in known else _unknown_outcome(item)
            for item in items
        ]


class Failures:
    """Ends of attempts that did not complete: in threads, because what follows them is decided in Python."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._threads = ThreadPoolExecutor(FAILURE_THREADS, thread_name_prefix="failures")
        self._patient_threads = ThreadPoolExecutor(PATIENT_POOL_MAX_SIZE, thread_name_prefix="failures-held")
        self._patient_count = 0

    async def submit(self, items: Sequence[Finish]) -> list[Result]:
        """One result per item; 503 for one whose run, or the control of whose task, others hold."""
        if not items:
            return []
        ends = [_end_of(item) for item in items]
        results = await asyncio.get_running_loop().run_in_executor(self._threads, _fail_in_thread, ends)
        held = [position for position, result in enumerate(results) if result is None]
        waited = await asyncio.gather(*(self._wait(ends[position]) for position in held))
        for position, result in zip(held, waited, strict=True):
            results[position] = result
        return [result for result in results if result is not None]

    async def _wait(self, end: AttemptEnd) -> Result:
        if self._patient_count >= PATIENT_POOL_MAX_SIZE:
            return HELD
        self._patient_count += 1
        try:
            loop = asyncio.get_running_loop()
            fail = partial(_fail_in_thread, patience_seconds=self._patience_seconds)
            (result,) = await loop.run_in_executor(self._patient_threads, fail, [end])
        finally:
            self._patient_count -= 1
        return result or HELD


async def write_starts(connection: Connection, items: Sequence[Start], *, waits: bool) -> list[Result | None]:
    rows = await START_ATTEMPTS.run_on(
        connection,
        waits=waits,
        run_ids=uuid_array(item.run_id for item in items),
        tokens=bytes_array(item.token for item in items),
        containers=[item.container for item in items],
        start_kinds=[item.start_kind for item in items],
        resumed_froms=[item.resumed_from for item in items],
        running_seconds=[item.running_seconds for item in items],
    )
    announce_now(RUNS, (item.run_id for item in items))
    return [None if row.is_held else STALE if row.is_stale else Result(200) for row in rows]


async def write_checkpoints(
    connection: Connection, items: Sequence[CheckpointItem], *, waits: bool
) -> list[Result | None]:
    verdicts = await store.save(connection, [_new_checkpoint(item) for item in items], waits=waits)
    announce_now(RUNS, {item.run_id for item in items})
    return [
        None if saved is None else MESSAGES.get(saved.verdict) or Result(200, index=saved.index) for saved in verdicts
    ]


async def write_logs(connection: Connection, items: Sequence[LogBatch], *, waits: bool) -> list[Result | None]:
    """Locks no run, so there is none to wait for."""
    lines = [
        logs.NewLogLine(
            run_id=batch.run_id,
            token=batch.token,
            attempt=batch.attempt,
            sequence=line.sequence,
            level=line.level,
            source=line.source,
            message=line.message,
            fields=storable_fields(line.fields),
            logged_at=line.at,
        )
        for batch in items
        for line in batch.lines
    ]
    refused = await logs.save(connection, lines)
    announce_now(RUNS, {item.run_id for item in items})
    stale_tokens = {lines[position].token for position in refused}
    return [STALE if batch.token in stale_tokens else Result(200) for batch in items]


async def write_completions(connection: Connection, items: Sequence[Finish], *, waits: bool) -> list[Result | None]:
    rows = await COMPLETE_ATTEMPTS.run_on(
        connection,
        waits=waits,
        run_ids=uuid_array(item.run_id for item in items),
        tokens=bytes_array(item.token for item in items),
        outputs=[(item.output or b"null").decode() for item in items],
        containers=[item.container for item in items],
        start_kinds=[item.start_kind for item in items],
        resumed_froms=[item.resumed_from for item in items],
        running_seconds=[item.running_seconds or 0.0 for item in items],
        peak_memory_bytes=[item.peak_memory_bytes for item in items],
    )
    announce_now(RUNS, (item.run_id for item in items))
    announce_now(TASKS, rows[0].recovered or ())
    return [_completion(row) for row in rows]


def _completion(row: Any) -> Result | None:
    if not row.is_stale or row.outcome == COMPLETED:
        return DONE
    if row.is_held:
        return None
    # Stale and not ended: it waited for whoever ended it and read the attempt as it was before, so it has to ask again.
    return None if row.outcome == "" else STALE


def _fail_in_thread(ends: Sequence[AttemptEnd], *, patience_seconds: float = 0.0) -> list[Result | None]:
    """As `fail_attempts`, None for what others hold; where the batch raises for one item, that item fails alone."""
    try:
        answers = _fail(ends, patience_seconds)
    except (OperationalError, InterfaceError) as error:
        if not is_held(error):
            raise DatabaseAwayError(str(error)) from error
        return [HELD] if len(ends) == 1 else _fail_each(ends)
    except Exception as error:
        if len(ends) > 1:
            return _fail_each(ends)
        logger.exception("coordinator.fail run.id=%s", ends[0].run_id)
        status = 422 if isinstance(error, DataError | IntegrityError) else 500
        return [Result(status, "invalid", f"The attempt's end could not be stored: {type(error).__name__}")]
    finally:
        connections.close_all()
    return [
        None if answer.is_held else STALE if answer.is_stale else Result(200, state=answer.state) for answer in answers
    ]


def _fail(ends: Sequence[AttemptEnd], patience_seconds: float) -> list[Answer]:
    with transaction.atomic():
        if patience_seconds:
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {round(patience_seconds * 1000)}")
        return fail_attempts(ends, waits=patience_seconds > 0)


def _fail_each(ends: Sequence[AttemptEnd]) -> list[Result | None]:
    """Each alone; after some that are held one after the other it is no row but the table, and the rest is not
    tried."""
    results: list[Result | None] = []
    held_count = 0
    for end in ends:
        if held_count == HELD_IN_A_ROW:
            return results + [HELD] * (len(ends) - len(results))
        results += _fail_in_thread([end])
        held_count = held_count + 1 if results[-1] is HELD else 0
    return results


def _unknown_outcome(item: Finish) -> Result:
    return Result(422, "invalid", f"There is no outcome {item.outcome!r}.")


def _end_of(item: Finish) -> AttemptEnd:
    return AttemptEnd(
        run_id=item.run_id,
        token=item.token,
        outcome=Outcome(item.outcome),
        error=None if item.error is None else storable_error(item.error),
        retry_after_seconds=item.retry_after_seconds,
        is_abort=item.is_abort,
        start={name: getattr(item, name) for name in ATTEMPT_FACTS},
    )


def _new_checkpoint(item: CheckpointItem) -> store.NewCheckpoint:
    return store.NewCheckpoint(
        run_id=item.run_id,
        token=item.token,
        key=item.key,
        data=item.data,
        binds=item.binds,
        carried=item.carried,
        kind=item.kind,
        codec=item.codec,
        duration_seconds=item.duration_seconds,
    )


def _size_of_logs(batch: LogBatch) -> int:
    return sum(len(line.message) + len(line.fields or b"") for line in batch.lines)
