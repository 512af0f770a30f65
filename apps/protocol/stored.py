"""What an attempt reads back of what its run has saved."""

from apps.protocol.messages import Message


class StoredCheckpoint(Message):
    key: str
    index: int
    data: bytes | None
    """None for a step whose result has to be asked for."""
    binds: list[str] = []
    carried: bytes | None = None
    kind: str = "checkpoint"
    codec: int = 1


class StoredCheckpoints(Message):
    """A page in commit order; the next one starts after `next_after`."""

    items: list[StoredCheckpoint]
    next_after: int | None = None


class StoredData(Message):
    data: bytes | None
