"""What may refuse a trigger that is in itself right: apps above register it here, such as the depth of queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


class AdmissionBound(Protocol):
    def applies(self, queues: Collection[str]) -> bool:
        """Whether it says anything of these queues; asked before the transaction, so that most triggers need none."""
        ...

    def admit(self, counts: Mapping[str, int]) -> None:
        """Returns where each queue may get so many new runs until the transaction ends; else raises the refusal."""
        ...


_bounds: list[AdmissionBound] = []


def register_admission_bound(bound: AdmissionBound) -> None:
    """Called once, in `AppConfig.ready`."""
    _bounds.append(bound)


def bounds_of(queues: Collection[str]) -> list[AdmissionBound]:
    """The bounds that say anything of these queues."""
    return [bound for bound in _bounds if bound.applies(queues)]
