"""One attempt as the worker sees it: its claim, what its process reported, and the verdict once it has ended."""

import time
from dataclasses import dataclass, field
from typing import Any

from apps.protocol import (
    CONFIRM_SECONDS,
    SELF_KILL_SECONDS,
    Claim,
    Finish,
    Lease,
    StoredCheckpoint,
    TaskOptions,
)
from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.variables import NO_VARIABLES, Variables

CONFIRM_MARGIN_SECONDS = 2.0
LEASE_ERROR = {
    "type": "LeaseEnded",
    "message": "The worker could not renew the attempt's lease in time, and ended it.",
    "stack": "",
}
SECONDS_MAX = 1e12


@dataclass(slots=True)
class Attempt:
    """State of one claim between its receipt and its finish; times are by the process's monotonic clock."""

    claim: Claim
    options: TaskOptions = field(default_factory=TaskOptions)
    variables: Variables = NO_VARIABLES
    stored: list[StoredCheckpoint] = field(default_factory=list)
    received_at: float = field(default_factory=time.monotonic)
    renewed_at: float | None = None
    """When the last acknowledged renewal was sent."""
    begun_at: float | None = None
    resumed_from: str | None = None
    container: str = ""
    start_kind: str = ""
    breach: str = ""
    """What its process sent that is not in the protocol; the worker ended the attempt for it."""
    stop_reason: str = ""
    """Why the worker ends it: canceled, timed_out, interrupted, stale (no longer this worker's) or expired (it may
    no longer be)."""
    output: bytes | None = None
    failure: dict[str, Any] | None = None
    """The `failed` frame's header."""

    @property
    def public_run_id(self) -> str:
        return self.claim.public_id

    @property
    def lease(self) -> Lease:
        return Lease(self.claim.run_id, self.claim.token)

    @property
    def lease_deadline(self) -> float:
        """When the worker must have killed it, unless a renewal is acknowledged first."""
        if self.renewed_at is None:
            return self.received_at + CONFIRM_SECONDS - CONFIRM_MARGIN_SECONDS
        return self.renewed_at + SELF_KILL_SECONDS

    def finish(self, end: ProcessEnd) -> Finish:
        """Returns the outcome (contract, section 2): what the code reported, why it was stopped, or how it died."""
        common: dict[str, Any] = {
            "run_id": self.claim.run_id,
            "token": self.claim.token,
            "container": self.container or None,
            "start_kind": self.start_kind or None,
            "resumed_from": self.resumed_from,
            "running_seconds": None if self.begun_at is None else time.monotonic() - self.begun_at,
            "exit_code": end.exit_code if end.signal is None else -end.signal,
            "peak_memory_bytes": end.peak_memory_bytes,
        }
        if self.output is not None:
            return Finish(outcome="completed", output=self.output, **common)
        if self.failure is not None and not self.failure.get("stop_reason"):
            return Finish(
                outcome="failed",
                error=_storable_error(self.failure.get("error")),
                retry_after_seconds=_seconds(self.failure.get("retry_after_seconds")),
                is_abort=bool(self.failure.get("is_abort")),
                **common,
            )
        if self.stop_reason:
            return Finish(outcome=STOP_OUTCOMES[self.stop_reason], error=self._stop_error(), **common)
        outcome = "out_of_memory" if end.is_out_of_memory else "crashed"
        return Finish(outcome=outcome, error=self._death_error(end), **common)

    def _stop_error(self) -> dict[str, Any] | None:
        if self.stop_reason == "expired":
            return LEASE_ERROR
        if self.stop_reason != "timed_out":
            return None
        stack = (_storable_error((self.failure or {}).get("error")) or {}).get("stack", "")
        message = f"The attempt ran longer than max_duration ({self.options.max_duration_seconds:g} s)."
        return {"type": "RunTimedOut", "message": message, "stack": stack}

    def _death_error(self, end: ProcessEnd) -> dict[str, Any]:
        if end.is_out_of_memory:
            return {
                "type": "OutOfMemory",
                "message": f"The process was killed at its memory limit ({self.options.memory_bytes / 1024**2:g} MB).",
                "stack": "",
            }
        if self.breach:
            return {"type": "ProtocolBroken", "message": storable(self.breach), "stack": ""}
        return {"type": "ProcessDied", "message": end.note or _death_message(end), "stack": ""}


STOP_OUTCOMES = {
    "canceled": "canceled", "timed_out": "timed_out", "interrupted": "released", "stale": "lost", "expired": "lost"
}  # fmt: skip


def _death_message(end: ProcessEnd) -> str:
    if end.signal is not None:
        return f"The task's process was killed by signal {end.signal}."
    if end.exit_code is not None:
        return f"The task's process exited with code {end.exit_code} without a result."
    return "The process that ran the task is gone."


def _storable_error(error: Any) -> dict[str, Any] | None:
    if not isinstance(error, dict):
        return None
    return {name: storable(error.get(name, "")) for name in ("type", "message", "stack")}


def storable(text: Any) -> str:
    """Strips NUL and lone surrogates: the text came from a task's process, and the database accepts neither."""
    return str(text).replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _seconds(value: Any) -> float | None:
    # Compared before conversion: an int in a hostile frame may be too large for a float.
    return float(value) if isinstance(value, int | float) and 0 <= value < SECONDS_MAX else None
