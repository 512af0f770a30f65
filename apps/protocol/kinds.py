"""Kinds of write as both sides know them, and what all kinds share: items, batches, results."""

from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from apps.protocol.fields import Token
from apps.protocol.messages import Message, decode, encode


class AttemptWrite(Message):
    """What every item starts with: the run, and the token of the writing attempt."""

    run_id: UUID
    token: Token


Item = TypeVar("Item", bound=AttemptWrite)


class Batch(Message, Generic[Item]):
    """The body of every write."""

    items: list[Item]


class RawBatch(Message):
    """Any batch, its items still undecoded."""

    items: list[msgspec.Raw]


class Result(Message):
    """The result of one item; `status` as in HTTP: 200 done, 409 stale or in conflict, 422 refused, 503 try again."""

    status: int
    code: str = ""
    message: str = ""
    index: int = 0
    state: str = ""


class Results(Message):
    """One result for each item of the batch, in its order."""

    items: list[Result]


class WriteKind(Generic[Item]):
    """One kind of write: `POST /coordinator/v1/<name>` with a `Batch` of items, answered by `Results`.

    To add one: in `writes.py`, its message, a subclass of `AttemptWrite`, and its `WriteKind`; in
    `trigger_site/coordinator/kinds/`, a file with the coordinator's half (see `Kind` there); and a line in that
    folder's list. A worker then sends items by `outbox.submit(KIND, item)`.
    """

    def __init__(
        self, name: str, item: type[Item], size_of: Callable[[Item], int], *, coalesce_seconds: float = 0.0
    ) -> None:
        """`size_of` bounds a batch, roughly, in bytes. Under load a worker waits `coalesce_seconds` for more items: a
        batch costs one commit, whatever its size."""
        self.name = name
        self.item = item
        self.size_of = size_of
        self.coalesce_seconds = coalesce_seconds
        self._batches = msgspec.msgpack.Decoder(Batch[item])  # type: ignore[valid-type]
        self._items = msgspec.msgpack.Decoder(item)

    def encode(self, items: list[Item]) -> bytes:
        return encode(Batch(items))

    def read(self, body: bytes) -> list[Item]:
        """Returns the batch's items; raises msgspec.MsgspecError if one of them cannot be read."""
        try:
            return self._batches.decode(body).items
        except (UnicodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    def read_each(self, body: bytes) -> list[Item | str]:
        """Returns the batch's items, with the reason in place of each unreadable one; raises msgspec.MsgspecError if
        the body is not a batch."""
        return [self._read(raw) for raw in decode(body, RawBatch).items]

    def _read(self, raw: msgspec.Raw) -> Item | str:
        try:
            return self._items.decode(raw)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            return str(error)
