"""What one attempt knows of its steps: the results that earlier attempts stored, and the keys that are taken."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trigger_sdk.errors import CheckpointMisplaced, DuplicateStep
from trigger_sdk.run.stored import StoredCheckpoint

_inside: ContextVar[dict[str, StoredCheckpoint] | None] = ContextVar("_inside", default=None)
"""What the steps have given that were called, so far, by the function of the step that is under way."""


class StepResults:
    """The steps of one attempt: what earlier ones stored, and the keys that this one has used."""

    def __init__(self, stored: Iterable[StoredCheckpoint], checkpoint_keys: Iterable[str]) -> None:
        self._stored = {entry.key: entry for entry in stored}
        self._taken = dict.fromkeys(checkpoint_keys, "a checkpoint")
        self._unfinished: dict[str, dict[str, StoredCheckpoint]] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()

    def begin(self, key: str) -> StoredCheckpoint | None:
        """Takes the key for this attempt; returns what is stored under it. DuplicateStep where it is taken.

        CheckpointMisplaced in a process that the task forked, where nothing can be stored.
        """
        if os.getpid() != self._process:
            raise CheckpointMisplaced(f"step {key!r} was reached in a process that the task forked")
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

    def finish(self, entry: StoredCheckpoint) -> None:
        """The step has given this result; kept only while a step is under way whose function called it."""
        results = _inside.get()
        if results is not None:
            results[entry.key] = entry

    @contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """Around one call of a step's function. After one that fails, the next is given the results of the steps that
        finished inside it."""
        with self._lock:
            again = self._unfinished.pop(key, {})
            self._stored.update(again)
            for inner in again:
                self._taken.pop(inner, None)
        results: dict[str, StoredCheckpoint] = {}
        token = _inside.set(results)
        try:
            yield
        except BaseException:
            with self._lock:
                self._unfinished[key] = results
            raise
        finally:
            _inside.reset(token)
