"""Group commit: one task per kind writes what many workers send at once, in one transaction per batch.

A locked row delays only its own item. A batch skips held rows; their items are tried once more, each alone and briefly,
and answered 503 after that: their senders ask again. Nothing here waits for a row while other items wait for it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import psycopg

from apps.protocol import BATCH_MAX_BYTES, BATCH_MAX_ITEMS, AttemptWrite, Result
from trigger_site.coordinator.database import TOO_MUCH, Connection, Database, HeldError

logger = logging.getLogger(__name__)

REFUSED = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    UnicodeError,
)
"""What one bad item can raise; any other error is not the items' fault."""

HELD = Result(503, "busy", "Another transaction holds what must be written; nothing was written, so send it again.")

HELD_IN_A_ROW = 3
"""After this many items in a row are held even alone, the table is held, not a row: the rest is not tried."""

HELD_APART_SECONDS = 30.0
"""How long after its last hold the items of a run that held up a batch are written separately."""

ASK_AGAIN_MAX = 5
"""A concurrent statement of the same run may take its place this many times in a row."""


Item = TypeVar("Item", bound=AttemptWrite)
Written = TypeVar("Written", bound=AttemptWrite, contravariant=True)


class Write(Protocol[Written]):
    """Writes items in one transaction; one result each, None for held ones. With `waits` it waits for their rows."""

    def __call__(
        self, connection: Connection, items: Sequence[Written], /, *, waits: bool
    ) -> Awaitable[list[Result | None]]: ...


class SizeOf(Protocol[Written]):
    def __call__(self, item: Written, /) -> int: ...


class Submission:
    """Items submitted together: their results, in order, and the future of all of them."""

    __slots__ = ("future", "missing", "results")

    def __init__(self, count: int) -> None:
        self.results: list[Result | None] = [None] * count
        self.missing = count
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self, position: int, result: Result) -> None:
        self.results[position] = result
        self.missing -= 1
        if not self.missing and not self.future.done():
            self.future.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


Entry = tuple[Item, int, Submission]


class BatchWriter(Generic[Item]):
    """Collects submitted items while a batch is being written, then writes them together.

    An idle writer starts at once, so a lone item never waits. If a batch raises, each item is retried in its own
    transaction, so that one bad item fails alone.
    """

    def __init__(self, name: str, database: Database, write: Write[Item], size_of: SizeOf[Item]) -> None:
        self._name = name
        self._database = database
        self._write = write
        self._size_of = size_of
        self._waiting: deque[Entry[Item]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._apart: dict[UUID, float] = {}
        """Runs whose other rows, not their own row, held up a whole batch; until when they are written separately."""
        self._patient: set[asyncio.Task[None]] = set()

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """Returns one result per item, after their commit; 503 for a held one, which must be sent again.

        Raises DatabaseAwayError if nothing could be written.
        """
        if not items:
            return []
        submission = Submission(len(items))
        self._waiting.extend([(item, position, submission) for position, item in enumerate(items)])
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"write-{self._name}")
        await submission.future
        return [result for result in submission.results if result is not None]

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                if not batch:
                    continue
                try:
                    results = await self._write_batch([item for item, _, _ in batch])
                except Exception as error:
                    for _, _, submission in batch:
                        submission.fail(error)
                    continue
                for entry, result in zip(batch, results, strict=True):
                    if result is None:
                        self._insist(entry)
                    else:
                        entry[2].settle(entry[1], result)
        finally:
            self._task = None

    def _next_batch(self) -> list[Entry[Item]]:
        self._forget_apart()
        batch: list[Entry[Item]] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MAX_ITEMS:
            # Asked first, because a UUID is hashed in Python.
            if self._apart and self._waiting[0][0].run_id in self._apart:
                self._insist(self._waiting.popleft())
                continue
            size += self._size_of(self._waiting[0][0])
            if batch and size > BATCH_MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write_batch(self, items: Sequence[Item]) -> list[Result | None]:
        try:
            return await self._database.run(lambda connection: self._write(connection, items, waits=False))
        except HeldError:
            if len(items) == 1:
                self._apart[items[0].run_id] = time.monotonic() + HELD_APART_SECONDS
                return [HELD]
            return await self._write_each(items)
        except (*REFUSED, *TOO_MUCH) as error:
            if len(items) == 1:
                return [self._refusal(error)]
            return await self._write_each(items)

    async def _write_each(self, items: Sequence[Item]) -> list[Result | None]:
        results: list[Result | None] = []
        held_count = 0
        for item in items:
            if held_count == HELD_IN_A_ROW:
                # What is held is common to all of them, so no single run is to blame.
                self._apart.clear()
                results += [HELD] * (len(items) - len(results))
                break
            results += await self._write_batch([item])
            held_count = held_count + 1 if results[-1] is HELD else 0
        return results

    def _insist(self, entry: Entry[Item]) -> None:
        task = asyncio.create_task(self._write_patiently(entry), name=f"wait-{self._name}")
        self._patient.add(task)
        task.add_done_callback(self._patient.discard)

    async def _write_patiently(self, entry: Entry[Item]) -> None:
        item, position, submission = entry
        try:
            for _ in range(ASK_AGAIN_MAX):
                (result,) = await self._database.run_patiently(
                    lambda connection: self._write(connection, [item], waits=True)
                )
                if result is not None:
                    self._apart.pop(item.run_id, None)
                    return submission.settle(position, result)
            submission.settle(position, HELD)
        except HeldError:
            if item.run_id in self._apart:
                self._apart[item.run_id] = time.monotonic() + HELD_APART_SECONDS
            submission.settle(position, HELD)
        except (*REFUSED, *TOO_MUCH) as error:
            submission.settle(position, self._refusal(error))
        except Exception as error:  # otherwise its waiter would wait for ever
            submission.fail(error)

    def _refusal(self, error: Exception) -> Result:
        logger.warning("coordinator.refuse: %s: %s", self._name, error)
        return Result(422, "invalid", (str(error).splitlines() or [type(error).__name__])[0])

    def _forget_apart(self) -> None:
        if self._apart:
            now = time.monotonic()
            self._apart = {run_id: until for run_id, until in self._apart.items() if until > now}
