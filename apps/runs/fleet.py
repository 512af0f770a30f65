"""What the runs' pages need to know of workers. The app that owns them lies above and registers its reader here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

ANSWERS_WITHIN = timedelta(seconds=60)
"""A worker keeps a poll of at most 20 s open; after a lease's length without contact it no longer counts."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that answer at present; `isolation_note` is empty where every one of them isolates its tasks."""

    worker_count: int
    slot_count: int
    isolation_note: str = ""


class FleetReader(Protocol):
    def summary(self) -> Fleet: ...

    def names(self, worker_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The names of these workers, stopped ones included."""
        ...


class _NoWorkers:
    """Stands in where the `workers` app is not installed."""

    def summary(self) -> Fleet:
        return Fleet(worker_count=0, slot_count=0)

    def names(self, worker_ids: Iterable[UUID]) -> dict[UUID, str]:
        return {}


_reader: FleetReader = _NoWorkers()


def register_fleet_reader(reader: FleetReader) -> None:
    """Called once, in `AppConfig.ready`."""
    global _reader
    _reader = reader


def fleet_reader() -> FleetReader:
    return _reader
