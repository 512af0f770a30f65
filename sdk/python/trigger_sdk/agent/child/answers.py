"""Hands the worker's answers to the run's threads that wait for them; one of the waiting threads reads for all.

Knows which answers are due, so that a process does not end while the worker is still writing to it.
"""

import threading

from trigger_sdk.agent.child.channel import STOP_POLL_MILLISECONDS, Channel
from trigger_sdk.wire import Frame


class Answers:
    """Each waiting thread may have one request under way, identified by its sequence number."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._interrupts = channel.interrupts
        self._changed = threading.Condition()
        self._arrived: dict[int, Frame] = {}
        self._due: set[int] = set()
        self._is_settling = False
        self._is_read = False

    def expect(self, sequence: int) -> None:
        """Registers a request that is about to be sent; blocks once `settle` has begun."""
        with self._changed:
            while self._is_settling:
                self._changed.wait()
            self._due.add(sequence)

    def forget(self, sequence: int) -> None:
        """Forgets a request that could not be sent."""
        with self._changed:
            self._due.discard(sequence)

    @property
    def has_due(self) -> bool:
        """Whether the worker still owes an answer, perhaps one that nobody waits for any more."""
        with self._changed:
            return bool(self._due)

    def settle(self) -> None:
        """Waits until every request has its answer, even those that nobody waits for any more.

        If the worker wrote to a process that has ended, the connection would be cut before it has read everything.
        """
        with self._changed:
            self._is_settling = True
        while self._due:
            self._turn(None)

    def wait(self, sequence: int) -> Frame:
        """The answer to that request; raises the run's stop if that comes first."""
        while True:
            # A stop in the middle would leave nobody reading, or lose another thread's answer.
            with self._interrupts:
                answer = self._turn(sequence)
            if answer is not None:
                return answer
            self._interrupts.raise_if_stopped()

    def _turn(self, sequence: int | None) -> Frame | None:
        with self._changed:
            if sequence not in self._arrived and self._is_read:
                self._changed.wait(STOP_POLL_MILLISECONDS / 1000)
            if sequence is not None and sequence in self._arrived:
                return self._arrived.pop(sequence)
            if self._is_read:
                return None
            self._is_read = True
        frames: list[Frame] = []
        try:
            frames = self._channel.receive_some()
        finally:
            with self._changed:
                self._is_read = False
                self._arrived.update((frame.header["sequence"], frame) for frame in frames)
                self._due.difference_update(self._arrived)
                self._changed.notify_all()
        with self._changed:
            return None if sequence is None else self._arrived.pop(sequence, None)
