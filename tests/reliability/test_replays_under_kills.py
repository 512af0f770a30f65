"""Random replays and requeues while processes are killed: originals stay as they are, skipped code never runs.

A ledger outside the database tells what ran; `replay_model` says what each run must come to. The seed is printed and
may be given by TRIGGER_TEST_SEED.
"""

import json
import os
import random
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from trigger_sdk.client import ApiError, Run, Unreachable

from apps.storage.ids import parse_public_id, public_id
from tests.acceptance.installation import Installation, installation, until
from tests.reliability.replay_model import (
    KEYS,
    STEPS,
    Known,
    Wish,
    carry_out,
    choose_deployment,
    effects_to_come,
    new_payload,
    random_wish,
    requeued,
)
from tests.reliability.replay_site import KINDS, Killer

TASKS = Path(__file__).parent / "replay_tasks"
TASK = "chain"
THREADS = 12
SOURCES_LIMIT = 60
TOGETHER = 6
"""So few originals at a time, good ones among them: a task of which ten runs fail in a row would cool down."""

RUN_SECONDS = 300.0
"""Who dies together with the coordinator that would have noticed leaves a lease behind that has to run out."""

REQUEUE_SHARE = 0.25
ACKNOWLEDGED_SHARE = 0.95


class Proof:
    """One round: the runs to replay, the dead letters to requeue, and what must be true of each in the end."""

    def __init__(self, site: Installation, folder: Path, seed: int) -> None:
        self.site = site
        self.rng = random.Random(seed)
        self.ledger = folder / "ledger"
        self.ledger.mkdir()
        self.sources: list[Known] = []
        self.letters: list[Known] = []
        self.expected: dict[str, Known] = {}
        self.wishes: dict[str, Wish] = {}
        self.snapshots: dict[str, list[str]] = {}
        self.requeue_snapshots: dict[str, list[str]] = {}
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.deployments: list[str] = []
        self.longest_seconds = 0.0
        self._lock = threading.Lock()
        self._folder = folder
        self._url = site.database_url

    def deploy(self, version: int) -> None:
        folder = self._folder / f"version-{version}"
        shutil.copytree(TASKS, folder)
        text = (folder / "tasks.py").read_text()
        (folder / "tasks.py").write_text(text.replace("VERSION = 1\n", f"VERSION = {version}\n", 1))
        (folder / "trigger.toml").write_text('name = "chains"\n')
        self.site.manage("deploy", str(folder))
        (identifier,) = self.site.query("SELECT id FROM runs_deployment ORDER BY version DESC LIMIT 1")[0]
        self.deployments.append(public_id("dep", identifier))  # type: ignore[arg-type]

    def make_originals(self, version: int, *, good: int, broken: int) -> None:
        """Runs of that version without kills: to replay, and of the dead letters two in three to requeue."""
        total = good + broken
        spread = [place * broken // total != (place + 1) * broken // total for place in range(total)]
        payloads = [new_payload(self.rng, str(self.ledger), is_broken=is_broken) for is_broken in spread]
        for first in range(0, total, TOGETHER):
            self._make(version, dict(list(enumerate(payloads))[first : first + TOGETHER]))

    def _make(self, version: int, payloads: dict[int, Any]) -> None:
        runs = {place: self.site.client.trigger(TASK, payload) for place, payload in payloads.items()}
        for place, run in runs.items():
            known = Known(run.id, payloads[place], version, run.id, carry_out(payloads[place], version, {}, run.id))
            assert run.wait(RUN_SECONDS).state == known.ended.state, run.data
            self.expected[run.id] = known
            is_letter = known.ended.state == "dead_letter" and place % 3 > 0
            (self.letters.append if is_letter else self._add_source)(known)

    def operate(self, number: int) -> None:
        """One replay or requeue, waited for."""
        rng = random.Random(f"{self.rng.random()}/{number}")
        with self._lock:
            is_requeue = rng.random() < REQUEUE_SHARE and bool(self.letters)
            chosen = self.letters.pop(rng.randrange(len(self.letters))) if is_requeue else rng.choice(self.sources)
        try:
            if is_requeue:
                self._requeue(rng, chosen)
            else:
                self._replay(random_wish(rng, chosen, self.deployments))
        except Unreachable as error:
            self._count("not acknowledged")
            self._note(f"unacknowledged: {error}")
        except Exception as error:
            self._note(f"operation {number} on {chosen.id}: {error!r}")

    def _replay(self, wish: Wish) -> None:
        try:
            made = self.site.client.replay(wish.source.id, **wish.arguments)
        except ApiError as error:
            if error.status == 422 and {found["path"] for found in error.errors} == wish.refused and wish.refused:
                self._count("refused replays")
                return
            raise
        known = wish.expect(made.id)
        with self._lock:
            self.expected[made.id] = known
            self.wishes[made.id] = wish
        self._count("replays")
        if wish.refused:
            self._note(f"{made.id} should have been refused for {wish.refused}")
            return
        if self._ends_as(made, known):
            with self._lock:
                if known.ended.state == "dead_letter" and len(self.wishes) % 3:
                    self.letters.append(known)
                elif len(self.sources) < SOURCES_LIMIT:
                    self._add_source(known)

    def _requeue(self, rng: random.Random, letter: Known) -> None:
        deployment, version = choose_deployment(rng, self.deployments, letter.version)
        self.requeue_snapshots[letter.id] = self._history(letter.id)
        done_before = len(self._effects(letter.id))
        run = self.site.client.requeue(letter.id, deployment=deployment)
        known = requeued(letter, version)
        with self._lock:
            self.expected[letter.id] = known
        self._count("requeues")
        if not self._ends_as(run, known):
            return
        # Over its whole life the run has done every effect: only what is new tells that nothing saved was done again.
        new, due = set(self._effects(letter.id)[done_before:]), effects_to_come(letter, version)
        if new != due:
            self._note(f"the requeue of {letter.id} did {sorted(new)}, not {sorted(due)}")
        if known.ended.state == "dead_letter":
            with self._lock:
                self.letters.append(known)

    def _ends_as(self, run: Run, known: Known) -> bool:
        """Waits for the end; a run that was killed three times at one place is requeued, as a person would do."""
        began = time.monotonic()
        try:
            run.wait(RUN_SECONDS)
        except TimeoutError:
            self._note(f"{run.id} did not end: {run.refresh().data} {run.attempts()}")
            return False
        with self._lock:
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)
        while run.state == "dead_letter" and "poison run" in str((run.error or {}).get("reason")):
            self._count("poisoned")
            run = self.site.client.requeue(run).wait(RUN_SECONDS)
        if run.state != known.ended.state:
            self._note(f"{run.id} is {run.state}, not {known.ended.state}: {run.error}")
            return False
        return True

    def _add_source(self, known: Known) -> None:
        self.snapshots[known.id] = self._rows(known.id)
        self.sources.append(known)

    def _rows(self, run_id: str) -> list[str]:
        """Every row of the run as text; values are stored as text, so they are compared byte for byte."""
        parts = (
            "SELECT t::text FROM runs_run t WHERE id = %(id)s",
            "SELECT t::text FROM runs_value t WHERE run_id = %(id)s",
            "SELECT t::text FROM runs_attempt t WHERE run_id = %(id)s ORDER BY number",
            "SELECT t::text FROM checkpoints_checkpoint t WHERE run_id = %(id)s ORDER BY index",
        )
        return self._texts(run_id, parts)

    def _history(self, run_id: str) -> list[str]:
        """What a requeue leaves as it is: payload, attempts, and what is saved."""
        parts = (
            "SELECT payload::text FROM runs_value WHERE run_id = %(id)s",
            "SELECT t::text FROM runs_attempt t WHERE run_id = %(id)s ORDER BY number",
            "SELECT t::text FROM checkpoints_checkpoint t WHERE run_id = %(id)s ORDER BY index",
        )
        return self._texts(run_id, parts)

    def _texts(self, run_id: str, statements: Sequence[str]) -> list[str]:
        with psycopg.connect(self._url) as database:
            values = {"id": parse_public_id("run", run_id)}
            return [row[0] for text in statements for row in database.execute(text.encode(), values)]

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _note(self, fault: str) -> None:
        with self._lock:
            self.faults.append(fault)

    # What must be true in the end.

    def judge(self) -> None:
        for run_id, rows in self.snapshots.items():
            if self._rows(run_id) != rows:
                self.faults.append(f"the original {run_id} changed")
        for run_id, rows in self.requeue_snapshots.items():
            if not set(rows) <= set(self._history(run_id)):
                self.faults.append(f"the requeue of {run_id} changed its history")
        for known in self.expected.values():
            self.faults += [f"{known.id}: {fault}" for fault in self._complaints(known)]
        strangers = {path.name for path in self.ledger.iterdir()} - set(self.expected)
        self.faults += [f"{run_id} ran and nobody asked for it" for run_id in strangers]

    def _complaints(self, known: Known) -> Iterator[str]:
        run = self.site.client.read(known.id)
        if (run["state"], run["output"]) != (known.ended.state, known.ended.output):
            yield f"is {run['state']} with {run['output']}, not {known.ended.state} with {known.ended.output}"
        if run["payload"] != known.payload:
            yield f"has the payload {run['payload']}, not {known.payload}"
        if run["deployment"] != self.deployments[known.version - 1]:
            yield "is on the wrong deployment"
        effects = set(self._effects(known.id))
        if effects != known.ended.effects:
            yield f"did {sorted(effects)}, not {sorted(known.ended.effects)}"
        yield from self._wrong_entries(known)
        wish = self.wishes.get(known.id)
        if wish is not None:
            origin = (wish.source.id, wish.arguments["from_checkpoint"])
            if (run["replay_of"], run["replay_from"]) != origin:
                yield f"says that it replays {run['replay_of']} from {run['replay_from']}, not {origin}"

    def _effects(self, run_id: str) -> list[str]:
        path = self.ledger / run_id
        return path.read_text().split() if path.exists() else []

    def _wrong_entries(self, known: Known) -> Iterator[str]:
        with psycopg.connect(self._url) as database:
            statement = (
                "SELECT key, kind, data::text, carried::text, attempt, is_edited FROM checkpoints_checkpoint "
                "WHERE run_id = %s ORDER BY index"
            )
            rows = database.execute(statement, (parse_public_id("run", known.id),)).fetchall()
        if [row[0] for row in rows] != [key for key in KEYS if key in known.ended.saved]:
            yield f"holds {[row[0] for row in rows]}"
            return
        wish = self.wishes.get(known.id)
        brought = {} if wish is None else wish.saved
        for key, kind, data, carried, attempt, is_edited in rows:
            expected = known.ended.saved[key]
            found = (json.loads(data), json.loads(carried or "{}"), kind == "step", attempt == 0)
            if found != (expected.data, expected.carried, key in STEPS, key in brought):
                yield f"holds {found} under {key}, not {expected}"
            if wish is not None and key in wish.arguments.get("checkpoint_data", {}) and not is_edited:
                yield f"does not say that {key} is edited"


def prove(new_database: str, folder: Path, operations: int, *, waits_for_leases: bool) -> None:
    seed = int(os.environ.get("TRIGGER_TEST_SEED") or secrets.randbelow(10**6))
    print(f"\nseed {seed}, {operations} operations")
    with installation(new_database) as site:
        proof = Proof(site, folder, seed)
        workers = [site.start_worker(), site.start_worker()]
        proof.deploy(1)
        proof.make_originals(1, good=8, broken=18)
        proof.deploy(2)
        proof.make_originals(2, good=8, broken=2)
        killer = Killer(site, workers, random.Random(seed), waits_for_leases=waits_for_leases)
        began = time.monotonic()
        with killer.killing(), ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(proof.operate, range(operations)))
            while killer.is_drawing():
                list(pool.map(proof.operate, range(operations, operations + THREADS)))
                operations += THREADS
        seconds = time.monotonic() - began
        until(lambda: not site.query("SELECT 1 FROM runs_run WHERE finished_at IS NULL"), f"all end: {site.logs()}")
        proof.judge()
        outcomes = dict(site.query("SELECT outcome, count(*) FROM runs_attempt GROUP BY outcome"))
    print(f"{seconds:.0f} s; {dict(proof.counts)}; kills {dict(killer.counts)}; attempts {outcomes}")
    print(f"the slowest run took {proof.longest_seconds:.1f} s", *proof.faults, sep="\n")
    assert not proof.faults, f"seed {seed}: {len(proof.faults)} faults, the first: {proof.faults[0]}"
    acknowledged = sum(proof.counts[what] for what in ("replays", "requeues", "refused replays"))
    assert acknowledged >= ACKNOWLEDGED_SHARE * operations
    assert proof.counts["requeues"] > operations / 20
    assert all(killer.counts[kind] > 0 for kind in KINDS), killer.counts
    assert outcomes.get("crashed", 0) > 0


def test_a_sample_of_replays_and_requeues_under_kills(new_database: str, tmp_path: Path) -> None:
    prove(new_database, tmp_path, 150, waits_for_leases=False)


@pytest.mark.long
def test_a_thousand_replays_and_requeues_under_kills(new_database: str, tmp_path: Path) -> None:
    prove(new_database, tmp_path, 1000, waits_for_leases=True)
