"""Kills for the proof of replays: at random, children, agents, workers and the coordinator of one installation.

Who is killed begins again at once. Judges nothing.
"""

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.acceptance.installation import Installation

WEIGHTS = {"child": 24, "agent": 12, "worker": 2, "coordinator": 1}
KINDS = tuple(WEIGHTS)
MEAN_PAUSE_SECONDS = 0.4
TARGET_SECONDS = 2.0
"""So long a kill waits for something to hit."""


class Killer:
    """A thread that kills; `counts` are the kills that hit something.

    Unless it `waits_for_leases`, those of killed workers run out at once, as they would by themselves within minutes.
    """

    def __init__(
        self,
        site: Installation,
        workers: list[subprocess.Popen[bytes]],
        rng: random.Random,
        *,
        waits_for_leases: bool,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._site = site
        self._workers = workers
        self._coordinator = site.processes[0]
        self._ids = self._worker_ids()
        self._rng = rng
        self._waits_for_leases = waits_for_leases
        self._is_over = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="killer")

    @contextmanager
    def killing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            self._thread.join()
        if self._fault is not None:
            raise self._fault

    def is_drawing(self) -> bool:
        """Whether some kind of kill has not hit yet: then there is to be something to hit."""
        return self._fault is None and not all(self.counts[kind] for kind in KINDS)

    def _run(self) -> None:
        try:
            # One of each kind at least, however short the time.
            for kind in KINDS:
                while not self.counts[kind] and not self._is_over.wait(MEAN_PAUSE_SECONDS):
                    self._kill(kind)
            while not self._is_over.wait(self._rng.expovariate(1 / MEAN_PAUSE_SECONDS)):
                self._kill(self._rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])
                if not self._waits_for_leases:
                    self._end_leases()
        except BaseException as fault:
            self._fault = fault

    def _kill(self, kind: str) -> None:
        if kind == "coordinator":
            _end(self._coordinator)
            self._coordinator = self._site.start_coordinator()
        elif kind == "worker":
            self._replace_worker(self._rng.randrange(len(self._workers)))
        elif not self._kill_below(kind):
            return
        self.counts[kind] += 1

    def _end_leases(self) -> None:
        """Of workers that are no more; and the time that follows a silence of all coordinators is over."""
        self._site.query("UPDATE workers_pulse SET resumed_at = NULL WHERE resumed_at IS NOT NULL")
        self._site.query(
            "UPDATE runs_run SET lease_end = now() WHERE state = 'running' AND worker_id <> ALL(%s::uuid[])", self._ids
        )

    def _replace_worker(self, place: int) -> None:
        _end(self._workers[place])
        before = self._worker_ids()
        self._workers[place] = self._site.start_worker()
        (self._ids[place],) = set(self._worker_ids()) - set(before)

    def _worker_ids(self) -> list[object]:
        return [row[0] for row in self._site.query("SELECT id FROM workers_worker ORDER BY started_at")]

    def _kill_below(self, kind: str) -> bool:
        """Kills a random agent of a worker, or a random run's process of an agent, as soon as there is one."""
        deadline = time.monotonic() + TARGET_SECONDS
        while time.monotonic() < deadline and not self._is_over.wait(0.01):
            try:
                if found := self._below(kind):
                    self._rng.choice(found).kill()
                    return True
            except psutil.NoSuchProcess:
                continue
        return False

    def _below(self, kind: str) -> list[psutil.Process]:
        agents = [agent for worker in self._workers for agent in psutil.Process(worker.pid).children()]
        return agents if kind == "agent" else [child for agent in agents for child in agent.children()]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
