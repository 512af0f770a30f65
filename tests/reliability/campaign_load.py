"""The clients of a campaign: trigger through the HTTP API until they are told, read back what they were told.

Each run has an idempotency key; an operation that is not answered is sent again, at the other web process. Judges
nothing but answers that no fault excuses.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trigger_sdk import Client
from trigger_sdk.client.http_api import ApiError, Unreachable

from tests.reliability.campaign_evidence import SEGMENTS
from tests.reliability.campaign_site import TASK_IDS

PATIENCE_SECONDS = 90.0
"""So long a client repeats an operation; then it counts as not acknowledged."""

PAUSE_SECONDS = 0.3
THREADS = 16
REPEATS = 5
EXCUSED = (429, 503)
SERVER_FAULT = 500
SEGMENT_SECONDS = (0.2, 3.5)


class Load:
    """Triggers a run every `pause_seconds` until it is told to stop; the payloads are drawn from the seed."""

    def __init__(self, clients: list[Client], ledger: str, rng: random.Random, pause_seconds: float) -> None:
        self.acknowledged: dict[str, str] = {}
        self.wrong_answers: list[str] = []
        self.operations = 0
        self.answered = 0
        self._prefix = f"{rng.randrange(10**9):09d}"
        self._clients = clients
        self._ledger = ledger
        self._rng = rng
        self._pause_seconds = pause_seconds
        self._payloads: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._is_enough = threading.Event()
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self._futures: list[Future[None]] = []
        self._feeder = threading.Thread(target=self._feed, name="load")

    def start(self) -> None:
        self._feeder.start()

    def trigger_no_more(self) -> None:
        self._is_enough.set()
        self._feeder.join()

    @property
    def is_done(self) -> bool:
        """Whether every operation has been answered or given up."""
        return not self._feeder.is_alive() and all(future.done() for future in self._futures)

    def stop(self) -> None:
        """Returns when no client works any more; raises what a client has died of."""
        self._is_over.set()
        if self._feeder.is_alive():
            self.trigger_no_more()
        self._pool.shutdown()
        for future in self._futures:
            future.result()

    def _feed(self) -> None:
        """By the clock, so that clients that wait do not slow down the others."""
        due_at = time.monotonic()
        while not self._is_enough.wait(max(0.0, due_at - time.monotonic())):
            seconds = [round(self._rng.uniform(*SEGMENT_SECONDS), 2) for _ in range(SEGMENTS)]
            number = len(self._payloads)
            self._payloads.append({"number": number, "seconds": seconds, "ledger": self._ledger})
            self._futures.append(self._pool.submit(self._carry_out, number))
            due_at += self._pause_seconds

    def _key(self, number: int) -> str:
        return f"{self._prefix}-{number}"

    def _carry_out(self, number: int) -> None:
        made = self._until_answered(number, lambda client: self._trigger(client, number))
        if made is None:
            return
        with self._lock:
            self.acknowledged[self._key(number)] = made.id
        self._until_answered(number, lambda client: client.read(made.id))

    def _trigger(self, client: Client, number: int) -> Any:
        task_id = TASK_IDS[number % len(TASK_IDS)]
        return client.trigger(task_id, self._payloads[number], idempotency_key=self._key(number))

    def _until_answered(self, number: int, ask: Callable[[Client], Any]) -> Any:
        """The answer; None where none came in time."""
        with self._lock:
            self.operations += 1
        deadline = time.monotonic() + PATIENCE_SECONDS
        tries = number
        while time.monotonic() < deadline:
            try:
                answer = ask(self._clients[tries % len(self._clients)])
            except Unreachable:
                tries += 1
            except ApiError as error:
                tries += 1
                if error.status not in EXCUSED:
                    self._note(f"{self._key(number)}: {error.status} {error.type} {error}")
                if error.status < SERVER_FAULT and error.status not in EXCUSED:
                    return None
            else:
                with self._lock:
                    self.answered += 1
                return answer
            if self._is_over.wait(PAUSE_SECONDS):
                return None
        return None

    def _note(self, wrong: str) -> None:
        with self._lock:
            self.wrong_answers.append(wrong)

    def repeat_all(self) -> None:
        """After everything: each key still stands for its run; the faults are so long over that nothing is excused."""
        for key, run_id in sorted(self.acknowledged.items()):
            number = int(key.rpartition("-")[2])
            again = self._asked_again(number)
            if again is None:
                self._note(f"{key} again: no answer after {REPEATS} tries")
            elif again.id != run_id or not again.is_duplicate:
                self._note(f"{key} stood for {run_id}, again for {again.id} (duplicate: {again.is_duplicate})")

    def _asked_again(self, number: int) -> Any:
        for tries in range(REPEATS):
            try:
                return self._trigger(self._clients[(number + tries) % len(self._clients)], number)
            except (ApiError, Unreachable) as error:
                self._note(f"{self._key(number)} again, long after the last fault: {error!r}")
        return None
