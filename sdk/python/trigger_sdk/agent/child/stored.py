"""Collects what an attempt receives of its run's past; it keeps only what is still restored from each checkpoint.

A later checkpoint's names win, so if all names of an earlier one come again, only its key is kept.
"""

from collections import Counter
from dataclasses import replace

from trigger_sdk.errors import CodecError, MalformedJson
from trigger_sdk.run.stored import CHECKPOINT, StoredCheckpoint
from trigger_sdk.values import codec


class Stored:
    """Takes entries in index order; `entries` restores the same as all that were added."""

    def __init__(self) -> None:
        self.entries: list[StoredCheckpoint] = []
        self._owners: dict[str, int] = {}
        """For each name, the place of the entry it is restored from."""
        self._owned: Counter[int] = Counter()

    def add(self, entry: StoredCheckpoint) -> None:
        place = len(self.entries)
        self.entries.append(entry)
        if entry.kind == CHECKPOINT and entry.codec == codec.VERSION:
            for name in _names_of(entry):
                self._take(name, place)

    def _take(self, name: str, place: int) -> None:
        before = self._owners.get(name)
        self._owners[name] = place
        self._owned[place] += before != place
        if before is None or before == place:
            return
        self._owned[before] -= 1
        if self._owned[before] == 0:
            self.entries[before] = replace(self.entries[before], data=None, binds=(), carried=None)


def _names_of(entry: StoredCheckpoint) -> list[str]:
    """The names in an entry; none if it cannot be read: the resume will say so."""
    try:
        carried = codec.decode(entry.carried) if entry.carried is not None else {}
    except (CodecError, MalformedJson):
        return []
    return [*entry.binds, *carried]
