"""What attempts write: the message and the `WriteKind` of each kind. `WriteKind` says how to add one."""

from typing import Any

from apps.protocol.fields import Bytes, Container, ExitCode, Index, Key, Seconds, StartKind
from apps.protocol.kinds import AttemptWrite, WriteKind
from apps.protocol.messages import Message

START_BYTES = 200
"""A start carries no task values; roughly its message's size."""

CHECKPOINT_COALESCE_SECONDS = 0.003


class Start(AttemptWrite):
    container: Container
    start_kind: StartKind
    running_seconds: Seconds
    resumed_from: Key | None = None


STARTS = WriteKind("starts", Start, lambda _: START_BYTES)


class CheckpointItem(AttemptWrite):
    key: str
    data: bytes
    binds: list[str] = []
    carried: bytes | None = None
    kind: str = "checkpoint"
    codec: int = 1
    duration_seconds: float | None = None


CHECKPOINTS = WriteKind(
    "checkpoints",
    CheckpointItem,
    lambda item: len(item.data) + len(item.carried or b""),
    coalesce_seconds=CHECKPOINT_COALESCE_SECONDS,
)


class LogItem(Message):
    level: str
    source: str
    message: str
    at: str
    sequence: Index
    fields: bytes | None = None


class LogBatch(AttemptWrite):
    attempt: Index
    lines: list[LogItem]


LOGS = WriteKind(
    "logs", LogBatch, lambda batch: sum(len(line.message) + len(line.fields or b"") for line in batch.lines)
)


class Finish(AttemptWrite):
    """The end of an attempt: completed with an output, or another outcome with its error."""

    outcome: str
    output: bytes | None = None
    error: dict[str, Any] | None = None
    retry_after_seconds: float | None = None
    is_abort: bool = False
    container: Container | None = None
    start_kind: StartKind | None = None
    resumed_from: Key | None = None
    running_seconds: Seconds | None = None
    exit_code: ExitCode | None = None
    peak_memory_bytes: Bytes | None = None


FINISHES = WriteKind("finishes", Finish, lambda item: len(item.output or b""))
