"""`Client` with `await`: the same calls, each on a thread of asyncio's default executor."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from trigger_sdk.client.async_operations import AsyncOperations
from trigger_sdk.client.client import Client, Run
from trigger_sdk.client.run_data import RunData, id_of, step_of
from trigger_sdk.tasks import Out, Task
from trigger_sdk.trigger_options import TriggerOptions

P = ParamSpec("P")
Returned = TypeVar("Returned")

WAIT_STEP_SECONDS = 5.0
"""Shorter than the client's own, because a cancelled wait keeps its thread until the step is over."""


class AsyncRun(RunData[Out]):
    def __init__(self, client: "AsyncClient", data: dict[str, Any], returns: Any = None) -> None:
        super().__init__(data, returns)
        self.client = client

    async def refresh(self) -> "AsyncRun[Out]":
        self.data = await asyncio.to_thread(self.client.sync.read, self.id)
        return self

    async def wait(self, timeout: float | None = None) -> "AsyncRun[Out]":
        """Waits until the run is final. TimeoutError after `timeout` seconds; the run continues anyway."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_final:
            step = step_of(self.id, deadline, WAIT_STEP_SECONDS)
            self.data = await asyncio.to_thread(self.client.sync.read, self.id, wait_seconds=step)
        return self

    async def logs(self) -> AsyncIterator[dict[str, Any]]:
        """The log lines so far, oldest first."""
        for line in await asyncio.to_thread(lambda: list(Run(self.client.sync, self.data).logs())):
            yield line

    async def attempts(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.client.sync.attempts, self.id)

    async def checkpoints(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(self.client.sync.checkpoints, self.id)

    async def cancel(self) -> "AsyncRun[Out]":
        self.data = (await self.client.cancel(self.id)).data
        return self


class AsyncClient(AsyncOperations):
    """`Client` with `await`; `sync` is the client that the worker threads use."""

    sync: Client

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self.sync = Client(url, api_key)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sync.close()

    def with_options(self, **options: Unpack[TriggerOptions]) -> "AsyncClient":
        """The same client, whose triggers have these options unless they are given others."""
        other = copy.copy(self)
        other.sync = self.sync.with_options(**options)
        return other

    @overload
    async def trigger(self, task: str, payload: Any = None, **options: Unpack[TriggerOptions]) -> AsyncRun[Any]: ...
    @overload
    async def trigger(
        self, task: Callable[P, Coroutine[Any, Any, Returned]], /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncRun[Returned]: ...
    @overload
    async def trigger(
        self, task: Callable[P, Returned], /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncRun[Returned]: ...
    @overload
    async def trigger(
        self, task: Task[P, Returned], /, *arguments: P.args, **named: P.kwargs
    ) -> AsyncRun[Returned]: ...
    async def trigger(self, /, *arguments: Any, **named: Any) -> AsyncRun[Any]:  # type: ignore[misc]  # as `Client` does
        """Like `Client.trigger`: by the task's id with a payload, or by its function with its arguments."""
        made = await asyncio.to_thread(self.sync.trigger, *arguments, **named)
        return AsyncRun(self, made.data, made.returns)

    async def trigger_batch(self, items: Iterable[Mapping[str, Any]]) -> list[AsyncRun]:
        return [AsyncRun(self, run.data) for run in await asyncio.to_thread(self.sync.trigger_batch, items)]

    async def run(self, run_id: str) -> AsyncRun:
        return AsyncRun(self, await asyncio.to_thread(self.sync.read, run_id))

    async def runs(self, **filters: Any) -> AsyncIterator[AsyncRun]:
        """Runs, newest first; the filters are those of `Client.runs`."""
        pages = self.sync.runs(**filters)
        while (run := await asyncio.to_thread(next, pages, None)) is not None:
            yield AsyncRun(self, run.data)

    async def bump(self, run: "AsyncRun | str") -> AsyncRun:
        return AsyncRun(self, (await asyncio.to_thread(self.sync.bump, id_of(run))).data)

    async def cancel(self, run: "AsyncRun | str") -> AsyncRun:
        return AsyncRun(self, (await asyncio.to_thread(self.sync.cancel, id_of(run))).data)

    async def replay(self, run: "AsyncRun | str", from_checkpoint: str | None = None, **options: Any) -> AsyncRun:
        """The options are those of `Client.replay`."""
        made = await asyncio.to_thread(self.sync.replay, id_of(run), from_checkpoint, **options)
        return AsyncRun(self, made.data)

    async def preview_replay(
        self, run: "AsyncRun | str", from_checkpoint: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """The options are those of `Client.replay`."""
        return await asyncio.to_thread(self.sync.preview_replay, id_of(run), from_checkpoint, **options)

    async def discard(self, run: "AsyncRun | str", *, note: str) -> AsyncRun:
        return AsyncRun(self, (await asyncio.to_thread(self.sync.discard, id_of(run), note=note)).data)

    async def requeue(self, run: "AsyncRun | str", *, deployment: str = "original") -> AsyncRun:
        made = await asyncio.to_thread(self.sync.requeue, id_of(run), deployment=deployment)
        return AsyncRun(self, made.data)
