"""Zombies: workers that are stopped with all their processes until their leases were given away, and woken again.

Owns the processes and the late writes; judges nothing.
"""

import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import psutil

from apps import protocol as wire
from tests.acceptance.installation import Installation

TASKS = Path(__file__).parent / "zombie_tasks"
TWICE_THE_LEASE_SECONDS = 2.0 * wire.LEASE_SECONDS

DEADLINE_SECONDS = 90.0
PATIENCE_SECONDS = 240.0

R = TypeVar("R")

CLOCK_AHEAD = """
UPDATE workers_pulse SET beat_at = beat_at + make_interval(secs => {seconds});
CREATE OR REPLACE FUNCTION trigger_now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
AS 'SELECT clock_timestamp() + make_interval(secs => {seconds})'
"""
"""The pulse moves along, as if coordinators had stamped it all the time."""


def until(condition: Callable[[], bool], what: str, *, seconds: float = DEADLINE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Stale:
    """A token whose lease was given away."""

    run_id: UUID
    token: bytes
    worker_id: UUID


@dataclass
class Zombies:
    """`count` runs on `worker_count` workers; `files` holds the ledger and the signs that the tasks wait for."""

    site: Installation
    files: Path
    count: int
    worker_count: int
    workers: list[psutil.Process] = field(default_factory=list)
    _stopped: list[psutil.Process] = field(default_factory=list)

    @property
    def payload(self) -> dict[str, str]:
        return {name: str(self.files / name) for name in ("ledger", "wake", "gate")}

    def start(self) -> None:
        """Every run is running, and its coordinator knows."""
        (self.files / "gate").touch()
        self.site._environment["TRIGGER_CONCURRENCY"] = str(-(-self.count // self.worker_count))
        for _ in range(self.worker_count):
            self.workers.append(psutil.Process(self.site.start_worker().pid))
        self.site.client.trigger_batch([{"task": "zombie", "payload": self.payload} for _ in range(self.count)])
        until(lambda: self.told_count() == self.count, "all have begun")
        until(lambda: len(self.pids("begun")) == self.count, "all have noted it")

    def told_count(self) -> int:
        return len(self.site.query("SELECT id FROM runs_attempt WHERE is_confirmed AND outcome = ''"))

    def stop(self) -> None:
        for worker in self.workers:
            worker.suspend()
            self._stopped += worker.children(recursive=True)
        for process in self._stopped:
            process.suspend()

    def give_away(self, *, has_patience: bool) -> list[Stale]:
        """Until every lease has ended and other attempts have begun; with patience by the clock on the wall."""
        begun_at = time.monotonic()
        if not has_patience:
            self.site.query(CLOCK_AHEAD.format(seconds=TWICE_THE_LEASE_SECONDS))
        self.site._environment["TRIGGER_CONCURRENCY"] = str(self.count)
        self.site.start_worker()
        until(lambda: self._second_count() == self.count, "second attempts have begun", seconds=PATIENCE_SECONDS)
        if has_patience:
            until(
                lambda: time.monotonic() - begun_at >= TWICE_THE_LEASE_SECONDS,
                "twice the lease",
                seconds=PATIENCE_SECONDS,
            )
        rows = self.site.query("SELECT run_id, encode(token, 'hex'), worker_id FROM runs_attempt WHERE number = 1")
        return [Stale(UUID(str(run)), bytes.fromhex(str(token)), UUID(str(worker))) for run, token, worker in rows]

    def _second_count(self) -> int:
        return len(self.site.query("SELECT id FROM runs_attempt WHERE number = 2 AND started_at IS NOT NULL"))

    def wake(self) -> float:
        """Wakes the tasks first, so that each one writes, then who carries their writes; seconds until all died."""
        (self.files / "wake").touch()
        begun = set(self.pids("begun"))
        for process in self._stopped:
            if process.pid in begun:
                process.resume()
        until(lambda: len(self.pids("writes")) == self.count, "every zombie has tried to write")
        awake_at = time.monotonic()
        for process in [*self._stopped, *self.workers]:
            if process.pid not in begun:
                process.resume()
        until(lambda: not any(psutil.pid_exists(pid) for pid in begun), "every zombie is dead")
        return time.monotonic() - awake_at

    def pids(self, what: str) -> list[int]:
        """The processes that have noted it."""
        ledger = self.files / "ledger"
        lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
        return [int(pid) for noted, pid, _ in lines if noted == what]

    # --- the same writes once more, by hand

    def late_writes(self, stale: Sequence[Stale]) -> dict[str, list[int]]:
        """By kind of write: the status that each stale token got."""
        starts = [wire.Start(each.run_id, each.token, "box", "cold", 1.0) for each in stale]
        saves = [wire.CheckpointItem(each.run_id, each.token, "late", b'{"a":1}', ["a"]) for each in stale]
        ends = [wire.Finish(each.run_id, each.token, "completed", output=b"1") for each in stale]
        failures = [wire.Finish(each.run_id, each.token, "failed", error={"type": "E"}) for each in stale]
        answers = {
            "starts": self._post("starts", wire.Batch(starts), wire.Results).items,
            "checkpoints": self._post("checkpoints", wire.Batch(saves), wire.Results).items,
            "completions": self._post("finishes", wire.Batch(ends), wire.Results).items,
            "failures": self._post("finishes", wire.Batch(failures), wire.Results).items,
        }
        found = {kind: [answer.status for answer in items] for kind, items in answers.items()}
        found["renewals"] = [409] * len(self._renew(stale))
        return found

    def _renew(self, stale: Sequence[Stale]) -> list[UUID]:
        """The runs whose lease was not renewed."""
        refused: list[UUID] = []
        for worker_id in {each.worker_id for each in stale}:
            leases = [wire.Lease(each.run_id, each.token) for each in stale if each.worker_id == worker_id]
            refused += self._post("heartbeats", wire.Heartbeat(worker_id, leases), wire.HeartbeatReply).stale
        return refused

    def _post(self, path: str, message: wire.Message, reply: type[R]) -> R:
        request = urllib.request.Request(
            f"{self.site._environment['TRIGGER_COORDINATOR_URL']}/coordinator/v1/{path}",
            data=wire.encode(message),
            headers={"Authorization": f"Bearer {self.site._environment['TRIGGER_WORKER_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return wire.decode(response.read(), reply)

    def close(self) -> None:
        for process in [*self._stopped, *self.workers]:
            if process.is_running():
                process.resume()
