"""What the run pages need to know about workers. The app that owns them is a layer above and registers its reader
here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

ANSWERS_WITHIN = timedelta(seconds=60)
"""A worker keeps a poll open for at most 20 s; after a lease's length without contact it no longer counts."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers that currently answer; `isolation_note` is empty if every one of them isolates its tasks."""

    worker_count: int
    slot_count: int
    isolation_note: str = ""


class FleetReader(Protocol):
    def summary(self) -> Fleet: ...

    def names(self, worker_ids: Iterable[UUID]) -> dict[UUID, str]:
        """The names of these workers, including stopped ones."""
        ...


class _NoWorkers:
    """Stands in when the `workers` app is not installed."""

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
