"""What a run in a test has done: its output, what it stored, what it logged."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trigger_sdk.run.stored import CHECKPOINT, STEP, StoredCheckpoint
from trigger_sdk.values import codec


@dataclass(frozen=True, slots=True)
class LogLine:
    attempt: int
    level: str
    message: str
    fields: Mapping[str, Any]


@dataclass(slots=True)
class Result:
    """What a run did. `output` is what a caller would read; `resumed_from` is the key the last attempt started from."""

    output: Any = None
    attempts: int = 0
    resumed_from: str | None = None
    stored: list[StoredCheckpoint] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=list)

    @property
    def checkpoints(self) -> dict[str, Any]:
        """The decoded data of every checkpoint, by key."""
        return self._decoded(CHECKPOINT)

    @property
    def steps(self) -> dict[str, Any]:
        """The decoded result of every step that finished, by key."""
        return self._decoded(STEP)

    def _decoded(self, kind: str) -> dict[str, Any]:
        return {c.key: codec.decode(c.data) for c in self.stored if c.kind == kind and c.data is not None}

    @property
    def carried(self) -> dict[str, Any]:
        """The changed names that checkpoints carry, decoded, by key; only those that carry any."""
        return {c.key: codec.decode(c.carried) for c in self.stored if c.carried is not None}


class AttemptCrashed(Exception):
    """The attempt's process died without a result: it was killed, or the task ended it. `resume` takes this error.

    `signal` or `exit_code` says how; the other is None.
    """

    def __init__(self, message: str, *, exit_code: int | None, signal: int | None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal
