"""The faults of a campaign, really done to its processes, its database and its connections. Judges nothing.

A fault fills in what it touched, so that the verdict can tell which attempts may have ended by it. All run in the main
thread, one after the other; a frozen worker alone lasts while others are done.
"""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from uuid import UUID

import psutil
import psycopg

from apps.runs.ids import public_id
from tests.reliability import campaign_wire
from tests.reliability.campaign_site import TASK_IDS, CampaignSite, Program
from tests.reliability.campaign_verdict import Fault

ROW_LOCK_SECONDS = (10.0, 40.0)
TABLE_LOCK_SECONDS = (3.0, 8.0)
FREEZE_SECONDS = 10.0
AWAY_SECONDS = (0.0, 4.0)
LOSS_SECONDS = (3.0, 6.0)
TARGET_SECONDS = 20.0
"""So long a fault waits for something to hit."""

FROZEN_SECONDS = 180.0
"""A frozen worker is woken at the latest after so long: an outage of the database makes leases last for longer."""

HEAD_START_SECONDS = 1.0
LOCK_PATIENCE_MS = 10_000
LOCKED_RUNS = 3
RENEWED_RUNS = 2
"""A worker is frozen when it holds so many attempts that it has renewed: the first lease of a claim is a short one."""


TABLES = ("runs_run", "runs_attempt", "checkpoints_checkpoint")
ROW_LOCKS = {
    "runs": "SELECT id, id FROM runs_run WHERE id = ANY(%s) ORDER BY id FOR UPDATE",
    "attempts": "SELECT run_id, id FROM runs_attempt WHERE run_id = ANY(%s) AND outcome = '' ORDER BY id FOR UPDATE",
    "controls": "SELECT task_id FROM runs_taskcontrol WHERE task_id = %s FOR UPDATE",
    "workers": "SELECT id FROM workers_worker WHERE id = %s FOR UPDATE",
}

Act = Callable[[CampaignSite, random.Random, Fault], None]


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
            ready[:] = [program for program in _awake(self._site) if self._holds_leases(program)]
            return bool(ready)

        self._site.watch_until(is_found, TARGET_SECONDS)
        return rng.choice(ready or _awake(self._site))

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


def kill_web(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    _kill(site, rng.choice(site.webs), rng, fault)


def kill_coordinator(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    _kill(site, rng.choice(site.coordinators), rng, fault)


def kill_all_coordinators(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    for program in site.coordinators:
        program.kill()
    fault.is_hit = True
    site.watch_for(rng.uniform(0.0, 2.0))
    for program in site.coordinators:
        program.start()
    for program in site.coordinators:
        site.await_back(program)
    fault.note = f"{len(site.coordinators)} at once"


def kill_worker(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    program = rng.choice(_awake(site))
    _touch_worker(site, program, fault)
    fault.is_final = True
    _kill(site, program, rng, fault)


def _kill(site: CampaignSite, program: Program, rng: random.Random, fault: Fault) -> None:
    fault.note = f"{program.life_name}{fault.note}"
    fault.is_hit = program.kill() == -signal.SIGKILL
    site.watch_for(rng.uniform(0.0, 2.0))
    program.start()
    site.await_back(program)


def kill_agent(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """All attempts of a worker die with the process that has loaded their code."""

    def kill() -> bool:
        program = rng.choice(_awake(site))
        agents = [agent for agent in site.agents(program) if agent.children()]
        if not agents:
            return False
        _touch_worker(site, program, fault)
        rng.choice(agents).kill()
        fault.note = f"of {program.life_name}{fault.note}"
        return True

    fault.is_hit = site.watch_until(kill, TARGET_SECONDS)


def kill_task(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """One run's process; which run it is stands in the ledgers, or on its container."""

    def kill() -> bool:
        found = _task_processes(site)
        if not found:
            return False
        run_id, process = rng.choice(found)
        fault.run_ids.add(run_id)
        process.kill()
        fault.note = run_id
        return True

    def kill_one() -> bool:
        with suppress(psutil.NoSuchProcess):
            return kill()
        return False

    fault.is_hit = site.watch_until(kill_one, TARGET_SECONDS)


def _task_processes(site: CampaignSite) -> list[tuple[str, psutil.Process]]:
    """Runs with the processes that carry them out, in the order of the runs."""
    if site.engine:
        owners = {container: run for program in _awake(site) for container, run in site.containers(program).items()}
        agents = [(run, site.engine.agent(container)) for container, run in owners.items()]
        found = [(run, child) for run, agent in agents if agent for child in agent.children()]
    else:
        children = [child for program in _awake(site) for agent in site.agents(program) for child in agent.children()]
        runs = _runs_of_processes(site)
        found = [(runs[child.pid], child) for child in children if child.pid in runs]
    return sorted(found, key=lambda pair: pair[0])


def kill_container(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    assert site.engine is not None
    engine = site.engine

    def kill() -> bool:
        found = {container: run for program in _awake(site) for container, run in site.containers(program).items()}
        if not found:
            return False
        chosen = rng.choice(sorted(found, key=lambda container: found[container]))
        fault.run_ids.add(found[chosen])
        fault.note = found[chosen]
        return engine.kill_container(chosen)

    fault.is_hit = site.watch_until(kill, TARGET_SECONDS)


def kill_engine(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """An engine that begins again ends the containers of the one that was killed."""
    assert site.engine is not None
    for program in site.workers:
        _touch_worker(site, program, fault)
    site.engine.kill()
    site.watch_for(rng.uniform(0.0, 2.0))
    site.engine.start()
    fault.is_hit = True


def kill_postgres(number: signal.Signals, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    process = site.cluster.process
    assert process is not None
    process.send_signal(number)
    process.wait()
    fault.is_hit = True
    away_seconds = rng.uniform(*AWAY_SECONDS)
    time.sleep(away_seconds)
    site.cluster.start()
    fault.note = f"away for {away_seconds:.1f} s and its recovery"


def freeze_postgres(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    assert site.cluster.process is not None
    server = psutil.Process(site.cluster.process.pid)
    stopped = [server, *server.children(recursive=True)]
    for process in stopped:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        time.sleep(FREEZE_SECONDS)  # whoever asks the database meanwhile waits, as we would
        fault.is_hit = server.status() == psutil.STATUS_STOPPED
    finally:
        for process in reversed(stopped):
            with suppress(psutil.NoSuchProcess):
                process.resume()
    fault.note = f"{FREEZE_SECONDS:g} s, {len(stopped)} processes"


def lock_rows(target: str, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """A foreign session holds rows; the runs whose own rows it holds are touched, and no others."""
    seconds = rng.uniform(*ROW_LOCK_SECONDS)
    with _foreign_session(site) as database:
        count = 0
        if target == "controls":
            count = len(database.execute(ROW_LOCKS[target].encode(), (rng.choice(TASK_IDS),)).fetchall())
        elif target == "workers":
            program = rng.choice(_awake(site))
            count = len(database.execute(ROW_LOCKS[target].encode(), (program.worker_id,)).fetchall())
        else:
            rows = database.execute(ROW_LOCKS[target].encode(), (_some_running(site, rng),)).fetchall()
            fault.run_ids |= {public_id("run", row[0]) for row in rows}
            count = len(rows)
        fault.is_hit = count > 0
        fault.note = f"{count} rows for {seconds:.0f} s"
        site.watch_for(seconds)


def _some_running(site: CampaignSite, rng: random.Random) -> list[UUID]:
    """As soon as there are any."""
    running: list[UUID] = []

    def is_found() -> bool:
        rows = site.ask("SELECT id FROM runs_run WHERE state = 'running' ORDER BY id")
        running[:] = [UUID(str(row[0])) for row in rows]
        return bool(running)

    site.watch_until(is_found, TARGET_SECONDS)
    return rng.sample(running, min(LOCKED_RUNS, len(running)))


def lock_table(mode: str, table: str, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    seconds = rng.uniform(*TABLE_LOCK_SECONDS)
    with _foreign_session(site) as database:
        database.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        fault.is_hit = True
        fault.note = f"{seconds:.0f} s"
        site.watch_for(seconds)


@contextmanager
def _foreign_session(site: CampaignSite) -> Iterator["psycopg.Connection[tuple[object, ...]]"]:
    """A transaction of somebody else; waits for its locks, and may keep them for as long as it likes."""
    with psycopg.connect(site.database_url) as database:
        database.execute("SET idle_in_transaction_session_timeout = 0")
        database.execute("SET statement_timeout = 0")
        database.execute(f"SET lock_timeout = {LOCK_PATIENCE_MS}".encode())
        yield database
        database.rollback()


def cut_sessions(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    """Half of the database's sessions end, whatever they are doing."""
    sessions = site.ask(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
        "AND datname = current_database() ORDER BY pid"
    )
    chosen = [row[0] for row in sessions if rng.random() < 0.5] or [row[0] for row in sessions[:1]]
    cut = site.ask("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", chosen)
    fault.is_hit = any(row[0] for row in cut)
    fault.note = f"{len(cut)} of {len(sessions)}"


def lose_replies(mode: str, site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    place = site.workers.index(rng.choice(_awake(site)))
    wire = site.wires[place]
    before = wire.lost_count
    seconds = rng.uniform(*LOSS_SECONDS)
    wire.lose(mode)
    try:
        site.watch_for(seconds)
        # A quiet moment would leave the fault without an effect.
        site.watch_until(lambda: wire.lost_count > before, TARGET_SECONDS)
    finally:
        wire.lose(campaign_wire.PASS)
    fault.is_hit = wire.lost_count > before
    fault.note = f"{wire.lost_count - before} replies to worker-{place} in {seconds:.0f} s"


def drain_worker(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    program = rng.choice(_awake(site))
    _touch_worker(site, program, fault)
    fault.is_final = True
    _drain(site, program, fault)


def drain_coordinator(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    _drain(site, rng.choice(site.coordinators), fault)


def _drain(site: CampaignSite, program: Program, fault: Fault) -> None:
    begun_at = time.monotonic()
    fault.note = f"{program.life_name}{fault.note}"
    program.is_expected_down = True
    program.process.send_signal(signal.SIGTERM)
    if not site.watch_until(lambda: program.process.poll() is not None, TARGET_SECONDS * 2):
        site.exits.append(f"{program.life_name} does not end on SIGTERM within {TARGET_SECONDS * 2:g} s")
        program.kill()
    elif program.process.returncode not in (0, -signal.SIGTERM):  # a server may end by the signal that it has handled
        site.exits.append(f"{program.life_name} ended on SIGTERM with exit code {program.process.returncode}")
    fault.is_hit = True
    fault.note += f", exit code {program.process.returncode} after {time.monotonic() - begun_at:.1f} s"
    program.start()
    site.await_back(program)


def _touch_worker(site: CampaignSite, program: Program, fault: Fault) -> None:
    site.await_back(program)
    worker_id = program.worker_id
    fault.worker_ids.add(worker_id)
    rows = site.ask("SELECT count(*) FROM runs_attempt WHERE worker_id = %s AND outcome = ''", worker_id)
    fault.note = f", {rows[0][0] if rows else '?'} attempts"


def _awake(site: CampaignSite) -> list[Program]:
    return [program for program in site.workers if not program.is_frozen]


def _runs_of_processes(site: CampaignSite) -> dict[int, str]:
    """By process the run that it wrote into its ledger last."""
    found: dict[int, str] = {}
    for path in sorted(site.ledger.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        lines = path.read_text().splitlines()
        if lines:
            found[int(lines[-1].split()[1])] = path.name.split(".")[0]
    return found


WHILE_FROZEN: dict[str, Act] = {
    "kill-web": kill_web,
    "kill-coordinator:one": kill_coordinator,
    "kill-coordinator:all": kill_all_coordinators,
    "kill-worker": kill_worker,
    "kill-agent": kill_agent,
    "kill-task": kill_task,
    "kill-container": kill_container,
    "cut:sessions": cut_sessions,
    "cut:replies": partial(lose_replies, campaign_wire.CUT),
    "cut:silence": partial(lose_replies, campaign_wire.SWALLOW),
    "drain:worker": drain_worker,
    "drain:coordinator": drain_coordinator,
    **{
        f"table-lock:{mode} {table}": partial(lock_table, mode, table)
        for mode in ("SHARE", "ACCESS EXCLUSIVE")
        for table in TABLES
    },
}
"""Faults that do not keep leases from ending, so that they may go on while a worker is frozen."""

ALONE: dict[str, Act] = {
    "kill-postgres:stop": partial(kill_postgres, signal.SIGQUIT),
    "kill-postgres:kill": partial(kill_postgres, signal.SIGKILL),
    "freeze-postgres": freeze_postgres,
    "kill-engine": kill_engine,
    **{f"row-lock:{target}": partial(lock_rows, target) for target in ROW_LOCKS},
}
FROZEN = ("zombie:machine", "zombie:worker")
OF_CONTAINERS = ("kill-container", "kill-engine")
OF_PROCESSES = ("kill-agent",)
"""In a container the agent is process 1, and its death that of the container."""

ACTS = WHILE_FROZEN | ALONE
KINDS = (*ACTS, *FROZEN)


def chosen_kinds(words: str, executor: str = "process") -> list[str]:
    """The kinds that begin with one of the words between commas and that this executor has; all of those where there
    are no words. ValueError for a word that chooses none."""
    strange = OF_PROCESSES if executor == "docker" else OF_CONTAINERS
    known = [kind for kind in KINDS if kind not in strange]
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if not any(kind.startswith(word) for kind in known):
            raise ValueError(f"{word} is no fault of this executor; there are: {', '.join(known)}")
    return [kind for kind in known if not wanted or any(kind.startswith(word) for word in wanted)]
