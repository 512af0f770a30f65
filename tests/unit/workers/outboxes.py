"""An outbox whose coordinator is the test's own: one coroutine function for each kind of write."""

from collections.abc import Awaitable, Callable
from typing import Any

from apps.protocol import Result, WriteKind
from apps.workers.node.outbox import Outbox


def outbox_to(**writes: Callable[[list[Any]], Awaitable[list[Result]]]) -> Outbox:
    """By the kind's name: what takes its items."""

    async def write(kind: WriteKind[Any], items: list[Any]) -> list[Result]:
        return await writes[kind.name](items)

    return Outbox(write)
