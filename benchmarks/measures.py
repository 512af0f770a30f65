"""The measurements: each takes a running site and returns the rows of its table."""

import os
import subprocess
import time
from dataclasses import dataclass

import psutil
import psycopg

from benchmarks.site import Site, percentile

LATENCY_RUNS = 200
COLD_RUNS = 15
COLD_PAUSE_SECONDS = 1.5
"""For an idle system: by then the previous run's container has been removed."""
BURST_RUNS = 1000
WARM_BURST_RUNS = 5000
SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Row:
    """One figure and its goal."""

    name: str
    value: float
    unit: str
    goal: str
    circumstances: str


def latency(site: Site) -> list[Row]:
    """Times from trigger over HTTP to the task's first statement, one run at a time on an idle system."""
    measured = latencies_ms(site, LATENCY_RUNS)
    around = f"{LATENCY_RUNS} runs one after the other, one HTTP connection, {surroundings(site)}"
    return [
        Row("process: trigger → task code, p50", percentile(measured, 0.5), "ms", "≤ 30", around),
        Row("process: trigger → task code, p99", percentile(measured, 0.99), "ms", "≤ 150", around),
    ]


def cold_start(site: Site) -> list[Row]:
    """Measures the same with a container per attempt; the image is built beforehand."""
    measured = latencies_ms(site, COLD_RUNS, pause_seconds=COLD_PAUSE_SECONDS)
    around = f"{COLD_RUNS} runs, {COLD_PAUSE_SECONDS:g} s apart, {surroundings(site)}"
    engine = percentile(_engine_alone_ms(), 0.5)
    cold = percentile(measured, 0.5)
    return [
        Row("docker, cold: trigger → task code, p50", cold, "ms", "≤ 500", around),
        Row("… of which the engine alone: docker run … true on the same network, p50", engine, "ms", "", ""),
        Row("… ratio", cold / engine, "times", "", ""),
    ]


def burst(site: Site) -> list[Row]:
    """Times no-op runs from one commit until the last has completed; a forked process per run."""
    return _burst(site, "noop", BURST_RUNS, "≥ 200", "a forked process per run")


def burst_warm(site: Site) -> list[Row]:
    """Measures the same with processes that take another run after completing one."""
    return _burst(site, "noop-warm", WARM_BURST_RUNS, "≥ 1,500", "processes that stay")


def _burst(site: Site, task: str, count: int, goal: str, how: str) -> list[Row]:
    site.client.trigger(task).wait(60)
    committed_at = trigger_at_once(site, task, count)
    # The cost of triggering is excluded, so only the runs left from here on count.
    before, remaining = site.cpu_seconds(), unfinished(site)
    seconds = wait_until_completed(site, committed_at)
    spent = site.cpu_seconds()
    cpu = ", ".join(f"{role} {(spent[role] - before[role]) / remaining * 1e6:,.0f}" for role in before)
    around = f"{count:,} runs at once, {how}; CPU µs per run: {cpu}; {surroundings(site)}"
    return [Row(f"no-op runs ({task}), end to end", count / seconds, "runs/s", goal, around)]


def memory(site: Site) -> list[Row]:
    """Measures resident memory of web, coordinator and worker when idle after work."""
    site.client.trigger("noop").wait(60)
    time.sleep(SETTLE_SECONDS)
    sizes = {role: site.processes()[role][0].memory_info().rss / 1e6 for role in ("web", "coordinator", "worker")}
    around = ", ".join(f"{role} {size:.0f}" for role, size in sizes.items())
    return [Row("web + coordinator + worker, resident, idle", sum(sizes.values()), "MB", "≤ 400", around)]


def latencies_ms(site: Site, count: int, pause_seconds: float = 0.0) -> list[float]:
    for _ in range(3):
        site.client.trigger("clock").wait(120)
    measured = []
    for _ in range(count):
        time.sleep(pause_seconds)
        sent_at = time.time()
        run = site.client.trigger("clock").wait(60)
        if run.state != "completed":
            raise RuntimeError(f"{run.id} is {run.state}: {run.error}")
        measured.append((float(run.output) - sent_at) * 1000)
    return measured


def _engine_alone_ms() -> list[float]:
    """Times a container with nothing of ours in it, including its removal."""
    image = os.environ.get("TRIGGER_BASE_IMAGE", "python:3.12-slim")
    command = ["docker", "run", "--rm", "--network", "trigger-tasks", image, "true"]
    measured = []
    for _ in range(COLD_RUNS):
        time.sleep(COLD_PAUSE_SECONDS)
        began_at = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        measured.append((time.monotonic() - began_at) * 1000)
    return measured


def trigger_at_once(site: Site, task: str, count: int) -> float:
    """Commits the runs in one transaction with the ORM's verb; returns the moment after the commit."""
    answer = site.run_module("trigger_many", task, str(count))
    return float(answer["committed_at"])


def wait_until_completed(site: Site, committed_at: float) -> float:
    """Returns the seconds until every run is completed."""
    while unfinished(site):
        time.sleep(0.02)
    return time.monotonic() - committed_at


def unfinished(site: Site) -> int:
    with psycopg.connect(site.info["database_url"], autocommit=True) as database:
        row = database.execute("SELECT count(*) FROM runs_run WHERE state <> 'completed'").fetchone()
    return 0 if row is None else int(row[0])


def surroundings(site: Site) -> str:
    with psycopg.connect(site.info["database_url"]) as database:
        row = database.execute(
            "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
        ).fetchone()
    connections = 0 if row is None else row[0]
    cores = psutil.cpu_count()
    return f"{connections} database connections, load {os.getloadavg()[0]:.1f} on {cores} cores"
