"""Why a run does not run. The app that judges it (the one that claims) lies above and registers its reader here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from apps.http.answers import timestamp
from apps.runs.states import RunState

WAITING_STATES = frozenset({RunState.DELAYED, RunState.PENDING, RunState.RETRYING, RunState.WAITING})


@dataclass(frozen=True, slots=True)
class Reason:
    """`text` ends where the countdown to `until` follows; `hint` is a command that would help.

    `code` is stable, for programs; `blocking_runs` are public ids of some of the runs that are waited for.
    """

    code: str
    text: str
    until: datetime | None = None
    blocking_runs: Sequence[str] = ()
    hint: str = ""
    is_alarming: bool = False

    @property
    def sentence(self) -> str:
        """The text as it stands alone."""
        if self.until is not None:
            return f"{self.text} at {timestamp(self.until)}."
        return f"{self.text} {self.hint}".rstrip()


class WaitingReader(Protocol):
    def reason(self, run_id: UUID) -> Reason | None:
        """None where the run is not waiting, or is not there."""
        ...


class _Nobody:
    """Stands in where the `queues` app is not installed."""

    def reason(self, run_id: UUID) -> Reason | None:
        return None


_reader: WaitingReader = _Nobody()


def register_waiting_reader(reader: WaitingReader) -> None:
    """Called once, in `AppConfig.ready`."""
    global _reader
    _reader = reader


def waiting_reason(run_id: UUID, state: str) -> Reason | None:
    """`state` as the caller read it: of runs that wait for nothing, nothing is asked."""
    return _reader.reason(run_id) if state in WAITING_STATES else None
