"""A campaign of faults against a whole installation under load, with a verdict that does not trust the database.

    python -m tests.reliability.campaign [--seed N] [--runs N] [--minutes M] [--kinds row-lock,kill-task] [--plant BUG]

Prints its seed, each fault with its time, and a verdict; the exit code is 1 if a rule is broken. A seed repeats faults
and payloads, not what the machine makes of them. Every fault is done once; then more of the short ones, until
`--minutes` are over. Runs are triggered all the time, `--runs` of them in those minutes and more if the faults take
longer. Where it falls short, logs and ledgers stay in the folder that it names.
"""

import argparse
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apps.storage.ids import public_id
from tests.reliability import campaign_faults as faults
from tests.reliability.campaign_evidence import Ended, Entry, Evidence, Fault, Run, Stored
from tests.reliability.campaign_frozen import FROZEN_SECONDS, Frozen
from tests.reliability.campaign_load import Load
from tests.reliability.campaign_plants import PLANTS
from tests.reliability.campaign_site import CampaignSite
from tests.reliability.campaign_verdict import (
    SETTLE_SECONDS,
    Finding,
    begun_late,
    faulty_ends,
    judge,
    repeated_segments,
)
from trigger_site.development.postgres import EmbeddedPostgres

MINUTES = 4.0
RUNS = {"process": 300, "docker": 60}
GAP_SECONDS = (1.0, 3.0)
ORPHAN_SECONDS = 60.0
HEALED_SECONDS = 30.0
"""So long after the last fault nothing is excused any more."""

UNFINISHED = "SELECT count(*) FROM runs_run WHERE finished_at IS NULL"


@dataclass(frozen=True)
class Options:
    seed: int
    runs: int = RUNS["process"]
    minutes: float = MINUTES
    kinds: str = ""
    executor: str = "process"
    plant: str = ""


class Campaign:
    def __init__(self, site: CampaignSite, options: Options) -> None:
        self.site = site
        self.options = options
        self.kinds = faults.chosen_kinds(options.kinds, options.executor)
        self.faults: list[Fault] = []
        self.begun_at = 0.0
        self._rng = random.Random(options.seed)
        pause_seconds = options.minutes * 60 / options.runs
        self.load = Load(site.clients, site.ledger_of_tasks, random.Random(options.seed + 1), pause_seconds)

    def carry_out(self) -> Evidence:
        self.begun_at = time.time()
        self.load.start()
        try:
            self._do_faults()
            self.load.trigger_no_more()
            ended_at = time.monotonic()
            self.site.watch_until(lambda: self.load.is_done and self._is_settled(), SETTLE_SECONDS)
            settle_seconds = time.monotonic() - ended_at
        finally:
            self.load.stop()
        self.site.watch_for(max(0.0, HEALED_SECONDS - settle_seconds))
        self.load.repeat_all()
        self.site.watch_until(lambda: not self._orphans(), ORPHAN_SECONDS)
        return self._evidence(settle_seconds)

    def _orphans(self) -> list[str]:
        return [
            f"{run} on {worker.name}" for worker in self.site.workers for run in self.site.containers(worker).values()
        ]

    def _is_settled(self) -> bool:
        rows = self.site.ask(UNFINISHED)
        return bool(rows) and rows[0][0] == 0

    # The faults.

    def _do_faults(self) -> None:
        for kinds, frozen in self._blocks():
            if frozen is None:
                self._do_each(kinds)
            else:
                self._while_frozen(frozen, kinds)
        again = [kind for kind in self.kinds if kind in faults.WHILE_FROZEN] or self.kinds
        deadline = self.begun_at + self.options.minutes * 60
        while time.time() < deadline:
            self._do_each([self._rng.choice(again)])

    def _blocks(self) -> list[tuple[list[str], str | None]]:
        """Every kind once: those that may go on while a worker is frozen spread over its times, the others alone."""
        shared = [kind for kind in self.kinds if kind in faults.WHILE_FROZEN]
        alone = [kind for kind in self.kinds if kind in faults.ALONE]
        frozen = [kind for kind in self.kinds if kind in faults.FROZEN]
        for each in (shared, alone, frozen):
            self._rng.shuffle(each)
        blocks: list[tuple[list[str], str | None]] = [
            (shared[place :: len(frozen)], kind) for place, kind in enumerate(frozen)
        ]
        blocks.append((alone if frozen else alone + shared, None))
        self._rng.shuffle(blocks)
        return blocks

    def _do_each(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            if kind in faults.FROZEN:
                self._while_frozen(kind, [])
                continue
            self.site.watch_for(self._rng.uniform(*GAP_SECONDS))
            fault = Fault(kind, time.time())
            self.faults.append(fault)
            faults.ACTS[kind](self.site, self._rng, fault)
            fault.ended_at = fault.ended_at or time.time()
            self._tell(fault)

    def _while_frozen(self, kind: str, kinds: Sequence[str]) -> None:
        fault = Fault(kind, time.time())
        frozen = Frozen(self.site, self._rng, fault)
        self.faults.append(fault)
        try:
            fault.ended_at = float("inf")
            self._do_each(kinds)
            self.site.watch_until(lambda: frozen.is_over, FROZEN_SECONDS)
        finally:
            frozen.wake()
        self._tell(fault)

    def _tell(self, fault: Fault) -> None:
        mark = "" if fault.is_hit else "   HIT NOTHING"
        begun, lasted = fault.begun_at - self.begun_at, fault.ended_at - fault.begun_at
        print(f"{begun:6.1f} s  {fault.kind:46} {lasted:5.1f} s  {fault.note}{mark}", flush=True)

    # The evidence.

    def _evidence(self, settle_seconds: float) -> Evidence:
        return Evidence(
            acknowledged=dict(self.load.acknowledged),
            runs=list(self._runs()),
            faults=self.faults,
            operations=self.load.operations,
            answered=self.load.answered,
            wanted_kinds=self.kinds,
            wrong_answers=self.load.wrong_answers,
            exits=self.site.exits,
            orphans=self._orphans(),
            settle_seconds=settle_seconds,
            begun_at=self.begun_at,
        )

    def _runs(self) -> Iterator[Run]:
        rows = self.site.query(
            "SELECT r.id, r.idempotency_key, v.payload::text, r.state, v.output::text "
            "FROM runs_run r JOIN runs_value v ON v.run_id = r.id ORDER BY r.id"
        )
        attempts = _by_run(
            self.site.query(
                "SELECT run_id, number, outcome, worker_id::text, extract(epoch FROM claimed_at)::float8, "
                "extract(epoch FROM finished_at)::float8 FROM runs_attempt ORDER BY run_id, number"
            )
        )
        stored = _by_run(
            self.site.query(
                "SELECT run_id, key, data::text, attempt, extract(epoch FROM created_at)::float8 "
                "FROM checkpoints_checkpoint ORDER BY run_id, index"
            )
        )
        for identifier, key, payload, state, output in rows:
            run_id = public_id("run", identifier)  # type: ignore[arg-type]
            yield Run(
                id=run_id,
                key=str(key),
                wanted=json.loads(str(payload))["number"],
                state=str(state),
                output=None if output is None else json.loads(str(output)),
                entries=read_ledger(self.site.ledger, run_id),
                stored=[Stored(key, json.loads(data), *rest) for key, data, *rest in stored.get(identifier, [])],
                attempts=[Ended(*row) for row in attempts.get(identifier, [])],
            )


def _by_run(rows: Sequence[tuple[object, ...]]) -> dict[object, list[tuple[object, ...]]]:
    found: dict[object, list[tuple[object, ...]]] = {}
    for run_id, *rest in rows:
        found.setdefault(run_id, []).append(tuple(rest))
    return found


def read_ledger(folder: Path, run_id: str) -> list[Entry]:
    """The run's lines, of one file or of one for each attempt, in the order of their times."""
    entries = []
    for path in [*folder.glob(run_id), *folder.glob(f"{run_id}.*")]:
        for line in path.read_text().splitlines():
            attempt, pid, nanoseconds, place = line.split(" ", 3)
            entries.append(Entry(int(attempt), int(pid), int(nanoseconds) / 1e9, place))
    return sorted(entries, key=lambda entry: entry.at)


def report(evidence: Evidence, findings: Sequence[Finding], site: CampaignSite) -> None:
    print("\nverdict", *findings, sep="\n")
    outcomes = Counter(attempt.outcome for run in evidence.runs for attempt in run.attempts)
    states = Counter(run.state for run in evidence.runs)
    ended = sum(len(faulty_ends(run)) for run in evidence.runs)
    repeated = sum(repeated_segments(run) for run in evidence.runs)
    print(
        f"\nfigures\n      runs {dict(states)}, {len(evidence.poisoned)} killed three times at one place"
        f"\n      attempts {dict(outcomes)}"
        f"\n      {ended} attempts ended by faults, {repeated} segments repeated"
        f"\n      {sum(len(begun_late(run)) for run in evidence.runs)} released attempts whose code began after that"
        f"\n      {evidence.answered} of {evidence.operations} operations acknowledged"
        f"\n      faults {dict(Counter(fault.name for fault in evidence.faults))}"
        "\n\nmemory (MB, with agents: first, peak, last)"
    )
    for program in site.programs:
        figures = (program.first_bytes, program.peak_bytes, program.last_bytes)
        print(f"      {program.name:16} {' '.join(f'{size / 1e6:6.0f}' for size in figures)}  {program.life + 1} lives")


@contextmanager
def campaign_site(options: Options) -> Iterator[CampaignSite]:
    """A site in a folder of its own, which stays; its database does not."""
    folder = Path(tempfile.mkdtemp(prefix="tc-"))
    folder.chmod(0o711)  # the database runs as another user when we are root
    cluster = EmbeddedPostgres(folder / "postgres", folder / "s", is_durable=True)
    site: CampaignSite | None = None
    try:
        cluster.start()
        site = CampaignSite(cluster, folder, executor=options.executor, plant=options.plant)
        site.begin()
        yield site
    finally:
        if site is not None:
            site.stop()
        cluster.stop()
        cluster.erase()


def run_campaign(options: Options) -> list[Finding]:
    """Carries one out, prints all of it, and returns the findings; the folder stays where one is broken."""
    print(f"campaign: seed {options.seed}, {options.runs} runs, executor {options.executor}", flush=True)
    begun_at = time.monotonic()
    with campaign_site(options) as site:
        print(f"{time.monotonic() - begun_at:.0f} s to set up, in {site.folder}", flush=True)
        evidence = Campaign(site, options).carry_out()
        findings = judge(evidence)
        report(evidence, findings, site)
    broken = sum(finding.is_broken for finding in findings)
    if broken:
        print(f"\n{broken} rules broken; logs and ledgers are in {site.folder}; seed {options.seed}")
    else:
        shutil.rmtree(site.folder, ignore_errors=True)
        print(f"\nall rules kept; seed {options.seed}")
    print(f"{time.monotonic() - begun_at:.0f} s in all", flush=True)
    return findings


def read_options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.campaign", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="repeats the faults and payloads of a campaign")
    parser.add_argument("--runs", type=int, help="so many are triggered within the minutes: 300, in containers 60")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="short faults are repeated until then")
    parser.add_argument("--kinds", default="", help=f"only these, with commas between: {', '.join(faults.KINDS)}")
    parser.add_argument("--executor", choices=("process", "docker"), default="process")
    parser.add_argument("--plant", choices=("", *PLANTS), default="", help="a bug that the verdict has to find")
    given = parser.parse_args(arguments)
    try:
        faults.chosen_kinds(given.kinds, given.executor)
    except ValueError as error:
        parser.error(str(error))
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    runs = given.runs or RUNS[given.executor]
    return Options(seed, runs, given.minutes, given.kinds, given.executor, given.plant)


def main(arguments: Sequence[str]) -> int:
    return int(any(finding.is_broken for finding in run_campaign(read_options(arguments))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
