"""What an attempt reads back of its run's saved values."""

from apps.protocol.messages import Message


class StoredCheckpoint(Message):
    key: str
    index: int
    data: bytes | None
    """None for a step whose result must be requested."""
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
