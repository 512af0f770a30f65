"""Turns a write's body into its results: an item that is unreadable or must not be stored is refused alone."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from apps.protocol import AttemptWrite, Result, Results
from trigger_site.coordinator.database import Database
from trigger_site.coordinator.kinds.base import Kind

Item = TypeVar("Item", bound=AttemptWrite)


class Intake(Generic[Item]):
    """Takes the batches of one kind of write."""

    def __init__(self, kind: Kind[Item], database: Database) -> None:
        self._wire = kind.wire
        self._check = kind.check
        self._writer = kind.open(database)

    async def take(self, body: bytes) -> Results:
        """Returns one result per item of the batch, in order; raises msgspec.MsgspecError if the body is no batch."""
        try:
            items = self._wire.read(body)
        except msgspec.MsgspecError:
            return await self._take_readable(self._wire.read_each(body))
        return Results(await self._submit(items))

    async def _take_readable(self, items: Sequence[Item | str]) -> Results:
        readable = [item for item in items if not isinstance(item, str)]
        results = iter(await self._submit(readable))
        return Results([Result(422, "invalid", item) if isinstance(item, str) else next(results) for item in items])

    async def _submit(self, items: Sequence[Item]) -> list[Result]:
        if self._check is None:
            return await self._writer.submit(items)
        refusals = list(map(self._check, items))
        if not any(refusals):
            return await self._writer.submit(items)
        passed = [item for item, refusal in zip(items, refusals, strict=True) if refusal is None]
        results = iter(await self._writer.submit(passed))
        return [refusal or next(results) for refusal in refusals]
