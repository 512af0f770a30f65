"""The coordinator's half of a kind of write: what it refuses at the door, and the statement that writes a batch.

To add a kind: the message and its `WriteKind` in `apps/protocol/writes.py`; a file beside this one with a `Kind`; a
line in `KINDS`. Address, batches, refusals item by item and the wait for held rows follow from these; `starts.py` is
the shortest example.

A `write` gets items of many runs and carries them out in one transaction. It locks the runs by their attempt tokens
before it writes (see `start_attempts.sql`), in the order of their ids, and answers each item: 200; `STALE` where the
token is not the run's present one; None where others hold what it needs. With `waits` it waits for such rows. Items are
sent again when an answer was lost, so a repeat changes nothing and gets the same answer.
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
STALE = Result(409, "stale", "The attempt token is not the run's present one.")


class Writer(Protocol[Written]):
    """Writes what is submitted; open for as long as its coordinator is."""

    async def submit(self, items: Sequence[Written], /) -> list[Result]:
        """One result per item, after their commit; 503 for one that others hold, to be sent again."""


@dataclass(frozen=True)
class Kind(Generic[Item]):
    """One kind of write. Override `open` only where one statement cannot write all items, as in `finishes.py`."""

    wire: WriteKind[Item]
    write: Write[Item]
    check: Callable[[Item], Result | None] | None = None
    """The refusal of an item that must not reach a batch; None for one that may."""

    def open(self, database: Database) -> Writer[Item]:
        return BatchWriter(self.wire.name, database, self.write, self.wire.size_of)


def result_of(answer: Answer) -> Result | None:
    """What the sender of a start or an end is told; None where others hold the run."""
    if answer.is_held:
        return None
    return STALE if answer.is_stale else Result(200, state=answer.state)
