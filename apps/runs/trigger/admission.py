"""What may refuse a trigger that is otherwise valid, such as the depth of queues; apps above register it here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol


class AdmissionBound(Protocol):
    def applies(self, queues: Collection[str]) -> bool:
        """Whether it bounds any of these queues; asked before the transaction, so that most triggers need none."""
        ...

    def admit(self, counts: Mapping[str, int]) -> None:
        """Returns if each queue may get this many new runs until the transaction ends; if not, raises the refusal."""
        ...


_bounds: list[AdmissionBound] = []


def register_admission_bound(bound: AdmissionBound) -> None:
    """Called once, in `AppConfig.ready`."""
    _bounds.append(bound)


def bounds_of(queues: Collection[str]) -> list[AdmissionBound]:
    """The bounds that apply to these queues."""
    return [bound for bound in _bounds if bound.applies(queues)]
