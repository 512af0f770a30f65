"""`Operations` with `await`: the same calls, each on a thread."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Unpack

from trigger_sdk.client.operations import DeadLetterFilter, Operations, QueueChanges, TaskChanges


class AsyncOperations:
    """A part of `AsyncClient`; see `Operations` for what each call takes and returns."""

    sync: Operations

    async def queues(self) -> AsyncIterator[dict[str, Any]]:
        found = self.sync.queues()
        while (item := await asyncio.to_thread(next, found, None)) is not None:
            yield item

    async def queue(self, name: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.queue, name)

    async def set_queue(self, name: str, **changes: Unpack[QueueChanges]) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.set_queue, name, **changes)

    async def task(self, task: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.task, task)

    async def set_task(self, task: str, **changes: Unpack[TaskChanges]) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.set_task, task, **changes)

    async def lift_cooldown(self, task: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.lift_cooldown, task)

    async def reset_idempotency_key(self, task: str, key: str) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.reset_idempotency_key, task, key)

    async def variables(self, task_set: str | None = None) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.sync.variables, task_set)

    async def set_variable(self, name: str, value: str, *, task_set: str | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.set_variable, name, value, task_set=task_set)

    async def unset_variable(self, name: str, *, task_set: str | None = None) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.unset_variable, name, task_set=task_set)

    async def dead_letters(
        self, *, limit: int | None = None, **chosen: Unpack[DeadLetterFilter]
    ) -> AsyncIterator[dict[str, Any]]:
        found = self.sync.dead_letters(limit=limit, **chosen)
        while (item := await asyncio.to_thread(next, found, None)) is not None:
            yield item

    async def dead_letter_groups(self, **chosen: Unpack[DeadLetterFilter]) -> dict[str, Any]:
        return await asyncio.to_thread(self.sync.dead_letter_groups, **chosen)

    async def requeue_dead_letters(
        self,
        ids: Iterable[str] | None = None,
        *,
        deployment: str = "original",
        rate: str | None = None,
        **chosen: Unpack[DeadLetterFilter],
    ) -> dict[str, Any]:
        return await asyncio.to_thread(
            Operations.requeue_dead_letters, self.sync, ids, deployment=deployment, rate=rate, **chosen
        )

    async def discard_dead_letters(
        self, ids: Iterable[str] | None = None, *, note: str, **chosen: Unpack[DeadLetterFilter]
    ) -> dict[str, Any]:
        return await asyncio.to_thread(Operations.discard_dead_letters, self.sync, ids, note=note, **chosen)
