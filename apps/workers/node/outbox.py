"""Sends the worker's writes: one sender per kind of write, which batches what waits and repeats until answered."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from apps.protocol import BATCH_MAX_BYTES, BATCH_MAX_ITEMS, AttemptWrite, Result, WriteKind
from apps.workers.node.coordinator import CallRefusedError, CoordinatorError, DatabaseUnavailableError, UnreachableError

BACKOFF_SECONDS = (0.1, 5.0)

HELD_SECONDS = (0.1, 1.0)
"""Pauses before resending an item that the coordinator could not write because its row is held."""

HELD = 503

LOADED_SECONDS = 0.05
"""How long a sender that may coalesce counts as under load after a batch of several items."""

UNSENDABLE = (UnicodeError, OverflowError, TypeError)
"""What encoding values chosen by a task's process can raise: a lone surrogate, a number beyond 64 bits."""

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Written = TypeVar("Written", bound=AttemptWrite)
Entry = tuple[Item, "asyncio.Future[Result]"]


class Outbox:
    """Takes items of any kind of write, and sends each kind separately."""

    def __init__(self, write: Callable[[WriteKind[Any], list[Any]], Awaitable[list[Result]]]) -> None:
        self._write = write
        self._senders: dict[str, Sender[Any]] = {}

    async def submit(self, kind: WriteKind[Written], item: Written) -> Result:
        """Returns the coordinator's result for the item; waits while it is away. Cancel it to give up."""
        sender = self._senders.get(kind.name)
        if sender is None:
            sender = self._senders[kind.name] = Sender(
                kind.name, partial(self._write, kind), kind.size_of, coalesce_seconds=kind.coalesce_seconds
            )
        return await sender.submit(item)


class Sender(Generic[Item]):
    """Sends items at once when idle, together under load. Repeats an unanswered batch, which the other side allows,
    and an item that it could not write."""

    def __init__(
        self,
        name: str,
        send: Callable[[list[Item]], Awaitable[list[Result]]],
        size_of: Callable[[Item], int],
        *,
        coalesce_seconds: float = 0.0,
    ) -> None:
        """Under load each batch waits `coalesce_seconds` for more items: a batch costs one commit at any size."""
        self._name = name
        self._coalesce_seconds = coalesce_seconds
        self._loaded_until = 0.0
        self._send = send
        self._size_of = size_of
        self._waiting: deque[Entry[Item]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._insisting: set[asyncio.Task[None]] = set()

    async def submit(self, item: Item) -> Result:
        """Returns the coordinator's result for the item; waits while it is away. Cancel it to give up."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain(), name=f"send-{self._name}")
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                if self._coalesce_seconds and loop.time() < self._loaded_until:
                    await asyncio.sleep(self._coalesce_seconds)
                batch = self._next_batch()
                if not batch:
                    continue
                try:
                    results = await self._deliver(batch)
                except Exception as error:  # otherwise their waiters would wait for ever
                    logger.exception("worker.send kind=%s", self._name)
                    results = [Result(500, "not-sent", f"It could not be sent: {error}") for _ in batch]
                if len(batch) > 1:
                    self._loaded_until = loop.time() + LOADED_SECONDS
                for entry, result in zip(batch, results, strict=True):
                    self._settle(entry, result)
        finally:
            self._task = None

    def _settle(self, entry: "Entry[Item]", result: Result) -> None:
        _, future = entry
        if future.done():
            return
        if result.status == HELD:
            task = asyncio.create_task(self._insist(entry), name=f"insist-{self._name}")
            self._insisting.add(task)
            task.add_done_callback(self._insisting.discard)
        else:
            future.set_result(result)

    async def _insist(self, entry: "Entry[Item]") -> None:
        """Sends one item alone until it is judged: what it needs is held, and nothing else should wait for that."""
        _, future = entry
        delay, longest = HELD_SECONDS
        while not future.done():
            await asyncio.sleep(delay)
            try:
                (result,) = await self._deliver([entry])
            except Exception as error:  # otherwise its waiter would wait for ever
                logger.exception("worker.send kind=%s", self._name)
                result = Result(500, "not-sent", f"It could not be sent: {error}")
            if result.status != HELD and not future.done():
                future.set_result(result)
            delay = min(longest, delay * 2)

    def _next_batch(self) -> "list[Entry[Item]]":
        batch: list[Entry[Item]] = []
        size = 0
        while self._waiting and len(batch) < BATCH_MAX_ITEMS:
            item, future = self._waiting[0]
            size += self._size_of(item)
            if batch and size > BATCH_MAX_BYTES:
                break
            self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _deliver(self, batch: "list[Entry[Item]]") -> list[Result]:
        delay, longest = BACKOFF_SECONDS
        items = [item for item, _ in batch]
        while True:
            try:
                return _complete(await self._send(items), len(items))
            except CallRefusedError as error:
                if error.status != 500 or all(future.done() for _, future in batch):
                    logger.error("worker.send kind=%s: %s", self._name, error)  # noqa: TRY400 - expected, no trace
                    return [Result(error.status, error.kind, str(error)) for _ in items]
                problem: CoordinatorError = error
            except UNSENDABLE as error:
                if len(batch) > 1:
                    return [(await self._deliver([entry]))[0] for entry in batch]
                return [Result(422, "invalid", f"It cannot be sent: {error}")]
            except (UnreachableError, DatabaseUnavailableError) as error:
                problem = error
            if all(future.done() for _, future in batch):
                return [Result(503, "given-up") for _ in items]
            logger.warning("worker.send kind=%s: %s; again in %.1f s", self._name, problem, delay)
            await asyncio.sleep(delay)
            delay = min(longest, delay * 2)


def _complete(results: list[Result], count: int) -> list[Result]:
    if len(results) != count:
        raise ValueError(f"{len(results)} results came for {count} items")
    return results
