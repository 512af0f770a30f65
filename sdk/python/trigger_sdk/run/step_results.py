"""What one attempt knows about its steps: the results that earlier attempts stored, and the keys in use."""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trigger_sdk.errors import CheckpointMisplaced, DuplicateStep
from trigger_sdk.run.stored import StoredCheckpoint

_inside: ContextVar[dict[str, StoredCheckpoint] | None] = ContextVar("_inside", default=None)
"""The results, so far, of the steps that the current step's function has called."""


class StepResults:
    """The steps of one attempt: what earlier ones stored, and the keys that this one has used."""

    def __init__(self, stored: Iterable[StoredCheckpoint], checkpoint_keys: Iterable[str]) -> None:
        self._stored = {entry.key: entry for entry in stored}
        self._taken = dict.fromkeys(checkpoint_keys, "a checkpoint")
        self._unfinished: dict[str, dict[str, StoredCheckpoint]] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()

    def begin(self, key: str) -> StoredCheckpoint | None:
        """Takes the key for this attempt; returns what is stored under it. DuplicateStep if it is already taken.

        CheckpointMisplaced in a process that the task forked, where nothing can be stored.
        """
        if os.getpid() != self._process:
            raise CheckpointMisplaced(f"step {key!r} was reached in a process that the task forked")
        with self._lock:
            if (owner := self._taken.get(key)) is not None:
                raise DuplicateStep(
                    f"the step key {key!r} is already used in this attempt by {owner}: give each step its own key, "
                    'such as step(f"page-{number}", …)'
                )
            self._taken[key] = "another step"
            # Released, because a loop over thousands of results needs one at a time.
            return self._stored.pop(key, None)

    def release(self, key: str) -> None:
        """Frees the key after the function failed, so that it may be tried again."""
        with self._lock:
            self._taken.pop(key, None)

    def finish(self, entry: StoredCheckpoint) -> None:
        """Records the step's result; kept only while the step whose function called it is running."""
        results = _inside.get()
        if results is not None:
            results[entry.key] = entry

    @contextmanager
    def trying(self, key: str) -> Iterator[None]:
        """Surrounds one call of a step's function. If it fails, the next call gets the results of the steps that
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
