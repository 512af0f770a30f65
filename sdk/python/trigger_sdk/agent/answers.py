"""Hands the worker's answers to the threads of a run that wait for them; one of the waiting threads reads for all."""

import threading

from trigger_sdk.agent.channel import STOP_POLL_MILLISECONDS, Channel
from trigger_sdk.wire import Frame


class Answers:
    """So many requests may be under way as there are threads that wait; each is known by its sequence number."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._interrupts = channel.interrupts
        self._changed = threading.Condition()
        self._arrived: dict[int, Frame] = {}
        self._is_read = False

    def wait(self, sequence: int) -> Frame:
        """The answer to that request; raises the run's stop if that comes first."""
        while True:
            # A stop in the middle would leave nobody reading, or lose the answer of another thread.
            with self._interrupts:
                answer = self._turn(sequence)
            if answer is not None:
                return answer
            self._interrupts.raise_if_stopped()

    def _turn(self, sequence: int) -> Frame | None:
        with self._changed:
            if sequence not in self._arrived and self._is_read:
                self._changed.wait(STOP_POLL_MILLISECONDS / 1000)
            if sequence in self._arrived:
                return self._arrived.pop(sequence)
            if self._is_read:
                return None
            self._is_read = True
        frames: list[Frame] = []
        try:
            frames = self._channel.receive_some(STOP_POLL_MILLISECONDS)
        finally:
            with self._changed:
                self._is_read = False
                self._arrived.update((frame.header["sequence"], frame) for frame in frames)
                self._changed.notify_all()
        with self._changed:
            return self._arrived.pop(sequence, None)
