"""The coordinator's half of a kind of write: what it refuses on arrival, and the statement that writes a batch.

To add a kind: the message and its `WriteKind` in `apps/protocol/writes.py`; a file next to this one with a `Kind`; a
line in `KINDS`. The address, batching, refusal of single items and waiting for held rows follow from these;
`starts.py` is the shortest example.

A `write` executes items of many runs in one transaction. Before it writes, it locks the runs by their attempt tokens
(see `start_attempts.sql`) in order of their ids. It answers each item: 200; `STALE` if the token is not the run's
current one; None if what it needs is held. With `waits` it waits for held rows. Items are sent again when an answer
was lost, so a repeat changes nothing and gets the same answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from apps.protocol import AttemptWrite, Result, WriteKind
from apps.runs.lifecycle import Answer
from trigger_site.coordinator.batches import BatchWriter, Write
from trigger_site.coordinator.database import Database

Item = TypeVar("Item", bound=AttemptWrite)
Written = TypeVar("Written", bound=AttemptWrite, contravariant=True)

DONE = Result(200)
STALE = Result(409, "stale", "The attempt token is not the run's current one.")


class Writer(Protocol[Written]):
    """Writes what is submitted; open as long as its coordinator."""

    async def submit(self, items: Sequence[Written], /) -> list[Result]:
        """Returns one result per item, after their commit; 503 for a held one, which must be sent again."""


@dataclass(frozen=True)
class Kind(Generic[Item]):
    """One kind of write. Override `open` only if one statement cannot write all items, as in `finishes.py`."""

    wire: WriteKind[Item]
    write: Write[Item]
    check: Callable[[Item], Result | None] | None = None
    """Returns the refusal of an item that must not reach a batch; None for one that may."""

    def open(self, database: Database) -> Writer[Item]:
        return BatchWriter(self.wire.name, database, self.write, self.wire.size_of)


def result_of(answer: Answer) -> Result | None:
    """Returns what the sender of a start or an end is told; None if the run is held."""
    if answer.is_held:
        return None
    return STALE if answer.is_stale else Result(200, state=answer.state)
