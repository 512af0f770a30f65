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
from trigger_sdk.http_api import ApiError, Unreachable

from tests.reliability.campaign_site import TASK_IDS
from tests.reliability.campaign_verdict import SEGMENTS

PATIENCE_SECONDS = 90.0
"""So long a client repeats an operation; then it counts as not acknowledged."""

PAUSE_SECONDS = 0.3
THREADS = 16
EXCUSED = (429, 503)
SEGMENT_SECONDS = (0.2, 3.5)


class Load:
    """`count` runs, triggered evenly over `window_seconds`; the payloads are drawn from the seed."""

    def __init__(
        self, clients: list[Client], ledger: str, rng: random.Random, count: int, window_seconds: float
    ) -> None:
        self.acknowledged: dict[str, str] = {}
        self.wrong_answers: list[str] = []
        self.operations = 0
        self.answered = 0
        self.prefix = f"{rng.randrange(10**9):09d}"
        self._clients = clients
        self._payloads = [
            {"number": number, "seconds": [round(rng.uniform(*SEGMENT_SECONDS), 2) for _ in range(SEGMENTS)],
             "ledger": ledger}
            for number in range(count)
        ]  # fmt: skip
        self._pause = window_seconds / max(1, count)
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS)
        self._futures: list[Future[None]] = []

    @property
    def is_done(self) -> bool:
        return bool(self._futures) and all(future.done() for future in self._futures)

    def start(self) -> None:
        begun_at = time.monotonic()
        self._futures = [
            self._pool.submit(self._carry_out, number, begun_at + number * self._pause)
            for number in range(len(self._payloads))
        ]

    def stop(self) -> None:
        """Returns when no client works any more; raises what a client has died of."""
        self._is_over.set()
        self._pool.shutdown(cancel_futures=True)
        for future in self._futures:
            if not future.cancelled():
                future.result()

    def key(self, number: int) -> str:
        return f"{self.prefix}-{number}"

    def _carry_out(self, number: int, due_at: float) -> None:
        if self._is_over.wait(max(0.0, due_at - time.monotonic())):
            return
        key = self.key(number)
        made = self._until_answered(number, lambda client: self._trigger(client, number))
        if made is None:
            return
        with self._lock:
            self.acknowledged[key] = made.id
        self._until_answered(number, lambda client: client.read(made.id))

    def _trigger(self, client: Client, number: int) -> Any:
        return client.trigger(
            TASK_IDS[number % len(TASK_IDS)], self._payloads[number], idempotency_key=self.key(number)
        )

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
                    self._note(f"{self.key(number)}: {error.status} {error.type} {error}")
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
        """After everything: each key still stands for its run."""
        for key, run_id in sorted(self.acknowledged.items()):
            number = int(key.rpartition("-")[2])
            try:
                again = self._trigger(self._clients[number % len(self._clients)], number)
            except (ApiError, Unreachable) as error:
                self._note(f"{key} again: {error!r}")
                continue
            if again.id != run_id or not again.is_duplicate:
                self._note(f"{key} stood for {run_id}, again for {again.id} (duplicate: {again.is_duplicate})")
