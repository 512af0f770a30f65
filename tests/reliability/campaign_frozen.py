"""A worker that is stopped for longer than its leases last, and woken again. Judges nothing."""

import random
import time
from contextlib import suppress

import psutil

from tests.reliability.campaign_evidence import Fault
from tests.reliability.campaign_site import TARGET_SECONDS, CampaignSite, Program

FROZEN_SECONDS = 180.0
"""A frozen worker is woken at the latest after so long: an outage of the database makes leases last for longer."""

HEAD_START_SECONDS = 1.0
RENEWED_RUNS = 4
"""A worker is frozen when it holds so many attempts that it has renewed: the first lease of a claim is a short one."""


class Frozen:
    """A worker that was stopped until its leases have been given away, while other faults go on."""

    def __init__(self, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
        self._site = site
        self._fault = fault
        self._program = self._choose(rng)
        self._program.is_frozen = True
        self._worker = psutil.Process(self._program.pid)
        self._agents: list[psutil.Process] = []
        self._tasks: list[psutil.Process] = []
        if fault.kind.endswith("machine"):
            self._agents = site.agents(self._program)
            self._tasks = [task for agent in self._agents for task in agent.children(recursive=True)]
        self._worker_id = self._program.worker_id
        self._deadline = time.monotonic() + FROZEN_SECONDS
        fault.worker_ids.add(self._worker_id)
        for process in (self._worker, *self._agents, *self._tasks):
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        self._tokens = site.ask(
            "SELECT id FROM runs_attempt WHERE worker_id = %s AND outcome = ''", self._worker_id
        )  # fmt: skip
        fault.note = f"{self._program.life_name}, {len(self._tokens)} attempts"

    def _choose(self, rng: random.Random) -> Program:
        """As soon as there is one that has renewed leases; any after a while."""
        ready: list[Program] = []

        def is_found() -> bool:
            ready[:] = [program for program in self._site.awake if self._holds_leases(program)]
            return bool(ready)

        self._site.watch_until(is_found, TARGET_SECONDS)
        return rng.choice(ready or self._site.awake)

    def _holds_leases(self, program: Program) -> bool:
        rows = self._site.ask(
            "SELECT count(*) FROM runs_run r JOIN workers_worker w ON w.id = r.worker_id "
            "WHERE w.name = %s AND r.state = 'running' AND r.lease_end > clock_timestamp() + interval '20 s'",
            program.life_name,
        )
        return bool(rows) and int(str(rows[0][0])) >= RENEWED_RUNS

    @property
    def is_over(self) -> bool:
        """Whether all that it held has been given away."""
        if time.monotonic() > self._deadline:
            return True
        self._fault.is_hit = bool(self._tokens) and self._is_given_away()
        return self._fault.is_hit

    def _is_given_away(self) -> bool:
        ids = [row[0] for row in self._tokens]
        rows = self._site.ask("SELECT count(*) FROM runs_attempt WHERE id = ANY(%s) AND outcome <> ''", ids)
        return bool(rows) and rows[0][0] == len(ids)

    def wake(self) -> None:
        """The tasks first, so that what they write waits for the worker; their agents, which end them, last."""
        for process in self._tasks:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._site.watch_for(HEAD_START_SECONDS if self._tasks else 0.0)
        for process in (self._worker, *self._agents):
            with suppress(psutil.NoSuchProcess):
                process.resume()
        self._program.is_frozen = False
        self._fault.ended_at = time.time()
