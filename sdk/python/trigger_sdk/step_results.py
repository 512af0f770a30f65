"""What one attempt knows of its steps: the results that earlier attempts stored, and the keys that are taken."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from trigger_sdk.errors import DuplicateStep

if TYPE_CHECKING:
    from trigger_sdk.context import StoredCheckpoint


class StepResults:
    """The steps of one attempt: what earlier ones stored, and the keys that this one has used."""

    def __init__(self, stored: Iterable["StoredCheckpoint"], checkpoint_keys: Iterable[str]) -> None:
        self._stored = {entry.key: entry for entry in stored}
        self._taken = dict.fromkeys(checkpoint_keys, "a checkpoint")
        self._lock = threading.Lock()

    def begin(self, key: str) -> "StoredCheckpoint | None":
        """Takes the key for this attempt; returns what is stored under it. DuplicateStep where it is taken."""
        with self._lock:
            if (owner := self._taken.get(key)) is not None:
                raise DuplicateStep(
                    f"the step key {key!r} is used already in this attempt, by {owner}: give each step a key of its "
                    'own, such as step(f"page-{number}", …)'
                )
            self._taken[key] = "another step"
            # Let go: a loop over thousands of results needs one at a time.
            return self._stored.pop(key, None)

    def release(self, key: str) -> None:
        """The function failed: the same key may be tried again."""
        with self._lock:
            self._taken.pop(key, None)
