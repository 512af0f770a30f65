"""How a run's process ended, as reported by its agent or by the process itself."""

from dataclasses import dataclass
from typing import Any

MEMORY_MAX_BYTES = 2**62


@dataclass(slots=True)
class ProcessEnd:
    """How the task's process ended, as its agent saw it; both codes are None if the agent itself was gone."""

    exit_code: int | None = None
    signal: int | None = None
    peak_memory_bytes: int | None = None
    is_out_of_memory: bool = False
    note: str = ""
    is_unstarted: bool = False
    """No process could be started at all; the note says why."""
    is_kept: bool = False
    """The run has ended and its process waits for the next one."""


def memory_of(header: dict[str, Any]) -> int | None:
    """Returns the peak memory; a kept process reports its own, so the value may be anything."""
    value = header.get("peak_memory_bytes")
    return value if isinstance(value, int) and 0 <= value < MEMORY_MAX_BYTES else None


def process_end(header: dict[str, Any]) -> ProcessEnd:
    """Reads an `exited` frame."""
    return ProcessEnd(
        exit_code=header.get("exit_code"),
        signal=header.get("signal"),
        peak_memory_bytes=memory_of(header),
        is_out_of_memory=bool(header.get("is_out_of_memory")),
        note=str(header.get("reason") or ""),
        is_unstarted=bool(header.get("reason")),
    )
