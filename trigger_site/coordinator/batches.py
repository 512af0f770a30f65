"""Group commit: what many workers send at once is written by one task per kind, in one transaction per batch."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import psycopg

from apps.workers.protocol import BATCH_MAX_BYTES, BATCH_MAX_ITEMS, Result

from .database import TOO_MUCH, Connection, Database, DatabaseAwayError

logger = logging.getLogger(__name__)

Item = TypeVar("Item")

REFUSED = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.ProgrammingError,
    UnicodeError,
)
"""What one bad item can raise; everything else is not the items' fault."""


class Submission:
    """Items that were submitted together: their results, in order, and who waits for all of them."""

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


class BatchWriter(Generic[Item]):
    """Collects submitted items while a batch is being written, then writes them together.

    An idle writer starts at once, so a lone item waits for nothing. Where a batch raises, each item is retried in a
    transaction of its own, so that one bad item fails alone.
    """

    def __init__(
        self,
        name: str,
        database: Database,
        write: Callable[[Connection, Sequence[Item]], Awaitable[list[Result | None]]],
        size_of: Callable[[Item], int],
    ) -> None:
        self._name = name
        self._database = database
        self._write = write
        self._size_of = size_of
        self._waiting: deque[tuple[Item, int, Submission]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[Item]) -> list[Result]:
        """One result per item, after their commit; raises DatabaseAwayError where nothing could be written."""
        if not items:
            return []
        submission = Submission(len(items))
        self._waiting.extend([(item, position, submission) for position, item in enumerate(items)])
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"write-{self._name}")
        await submission.future
        results = [result for result in submission.results if result is not None]
        for result in results:
            if result.status == 503:
                raise DatabaseAwayError(result.message)
        return results

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._next_batch()
                try:
                    results = await self._write_batch([item for item, _, _ in batch])
                except Exception as error:
                    for _, _, submission in batch:
                        submission.fail(error)
                    continue
                for (_, position, submission), result in zip(batch, results, strict=True):
                    submission.settle(position, result)
        finally:
            self._task = None

    def _next_batch(self) -> list[tuple[Item, int, Submission]]:
        batch: list[tuple[Item, int, Submission]] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MAX_ITEMS:
            size += self._size_of(self._waiting[0][0])
            if batch and size > BATCH_MAX_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write_batch(self, items: list[Item]) -> list[Result]:
        try:
            results = await self._database.run(lambda connection: self._write(connection, items))
        except (*REFUSED, *TOO_MUCH) as error:
            if len(items) == 1 and isinstance(error, psycopg.errors.QueryCanceled):
                # Somebody held its row for too long, which is no reason to refuse what a task has done.
                return [Result(503, "busy", _first_line(error))]
            if len(items) == 1:
                logger.warning("coordinator.refuse: %s: %s", self._name, error)
                return [Result(422, "invalid", _first_line(error))]
            return [(await self._write_batch([item]))[0] for item in items]
        return [
            result if result is not None else (await self._write_batch([item]))[0]
            for item, result in zip(items, results, strict=True)
        ]


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
