"""The faults of a campaign, really done to its processes, its database and its connections. Judges nothing.

A fault fills in what it touched, so that the verdict can tell which attempts may have ended by it. All run in the main
thread, one after the other; a frozen worker alone lasts while others are done.
"""

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import psutil

from tests.reliability import campaign_wire
from tests.reliability.campaign_evidence import Fault
from tests.reliability.campaign_locks import ROW_LOCKS, TABLES, lock_rows, lock_table
from tests.reliability.campaign_site import TARGET_SECONDS, CampaignSite, Program

FREEZE_SECONDS = 10.0
AWAY_SECONDS = (0.0, 4.0)
LOSS_SECONDS = (3.0, 6.0)
Act = Callable[[CampaignSite, random.Random, Fault], None]


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
    program = rng.choice(site.awake)
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
        program = rng.choice(site.awake)
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
        owners = {container: run for program in site.awake for container, run in site.containers(program).items()}
        agents = [(run, site.engine.agent(container)) for container, run in owners.items()]
        found = [(run, child) for run, agent in agents if agent for child in agent.children()]
    else:
        children = [child for program in site.awake for agent in site.agents(program) for child in agent.children()]
        runs = _runs_of_processes(site)
        found = [(runs[child.pid], child) for child in children if child.pid in runs]
    return sorted(found, key=lambda pair: pair[0])


def kill_container(site: CampaignSite, rng: random.Random, fault: Fault) -> None:
    assert site.engine is not None
    engine = site.engine

    def kill() -> bool:
        found = {container: run for program in site.awake for container, run in site.containers(program).items()}
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
    place = site.workers.index(rng.choice(site.awake))
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
    program = rng.choice(site.awake)
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
