"""Measures the cost of durable checkpoints and steps: latency alone, many at once, and resuming to where a run was."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.agent_peer import AgentPeer
from benchmarks.measures import Row, surroundings, trigger_at_once, wait_until_completed
from benchmarks.site import Site, percentile

POINTS = 100
LATENCY_RUNS = 10
PARALLEL_RUNS = 20
SHORT_RUNS = 300
RESUMES = 100
VALUE_BYTES = 1000

HEAD = """
import time
from trigger_sdk import checkpoint, step, task

marks = []


def mark():
    marks.append(time.perf_counter())


def durations():
    return [end - begin for begin, end in zip(marks[::2], marks[1::2])]
"""


def latency(site: Site) -> list[Row]:
    """Measures, one run at a time, how long each one-kilobyte checkpoint takes inside the task."""
    deploy(site)
    measured: dict[str, list[float]] = {}
    for task in ("points", "steps"):
        site.client.trigger(task).wait(60)
        runs = [site.client.trigger(task).wait(60) for _ in range(LATENCY_RUNS)]
        measured[task] = [seconds * 1000 for run in runs for seconds in run.output]
    around = f"{LATENCY_RUNS} runs x {POINTS} of {VALUE_BYTES:,} bytes, one at a time, {surroundings(site)}"
    return [
        Row("process: checkpoint of 1 KB, p50", percentile(measured["points"], 0.5), "ms", "≤ 3", around),
        Row("process: checkpoint of 1 KB, p99", percentile(measured["points"], 0.99), "ms", "≤ 15", around),
        Row("process: step of 1 KB, p50", percentile(measured["steps"], 0.5), "ms", "≤ 3", around),
        Row("process: step of 1 KB, p99", percentile(measured["steps"], 0.99), "ms", "≤ 15", around),
    ]


def throughput(site: Site) -> list[Row]:
    """Measures twenty tasks at once on one worker, then short runs of ten steps, as other systems' comparisons do."""
    deploy(site)
    rows: list[Row] = []
    for task, word, count, runs in (
        ("points", "checkpoints", POINTS, PARALLEL_RUNS),
        ("steps", "steps", POINTS, PARALLEL_RUNS),
        ("short", "steps in runs of 10, a fork each", 10, SHORT_RUNS),
    ):
        site.client.trigger(task).wait(60)
        before = site.cpu_seconds()
        committed_at = trigger_at_once(site, task, runs)
        seconds = wait_until_completed(site, committed_at)
        spent = site.cpu_seconds()
        saved = count * runs
        micros = {role: (spent[role] - before[role]) / saved * 1e6 for role in before if role != "web"}
        cpu = ", ".join(f"{role} {value:,.0f}" for role, value in micros.items())
        whole = sum(micros.values())
        around = (
            f"{runs} runs, {PARALLEL_RUNS} at once; CPU µs each: {cpu}, together {whole:,.0f}; {surroundings(site)}"
        )
        goal = "≥ 1,500" if runs == PARALLEL_RUNS else ""
        rows.append(Row(f"process: {word}", saved / seconds, "per s", goal, around))
        if runs == PARALLEL_RUNS:
            rows.append(Row("… between the first and the last commit", _committed_rate(site, task), "per s", "", ""))
    return rows


def resume() -> list[Row]:
    """Gives a real agent a run with a hundred checkpoints; times until the first statement after the last one."""
    with _folder() as folder, AgentPeer(folder) as peer:
        stored = [
            (f"point-{number}", json.dumps({"data": "x" * VALUE_BYTES}).encode(), ["data"]) for number in range(POINTS)
        ]
        peer.resume_seconds("points", stored)
        measured = [peer.resume_seconds("points", stored) * 1000 for _ in range(RESUMES)]
        fresh = [peer.resume_seconds("pointless", []) * 1000 for _ in range(RESUMES)]
    around = f"{RESUMES} resumes, {POINTS} checkpoints of {VALUE_BYTES:,} bytes each, a fork per attempt"
    return [
        Row("agent: attempt begins → first statement after the 100th checkpoint, p50",
            percentile(measured, 0.5), "ms", "≤ 10", around),
        Row("… p99", percentile(measured, 0.99), "ms", "", ""),
        Row("… the same for a run without checkpoints, p50", percentile(fresh, 0.5), "ms", "", ""),
    ]  # fmt: skip


def deploy(site: Site) -> None:
    with _folder() as folder:
        site.deploy(folder)


def source() -> str:
    """Returns tasks with one checkpoint statement per point in the source."""
    points = "\n".join(
        f'    data = make({number})\n    mark()\n    checkpoint("point-{number}", data=data)\n    mark()'
        for number in range(POINTS)
    )
    return f"""{HEAD}
def make(number):
    return str(number).rjust({VALUE_BYTES}, "x")


def timed_steps(count):
    for number in range(count):
        mark()
        step(f"step-{{number}}", make, number)
        mark()


@task(id="points")
def points():
{points}
    print("after the last", flush=True)
    return durations()


@task(id="steps")
def steps():
    timed_steps({POINTS})
    return durations()


@task(id="short")
def short():
    timed_steps(10)


@task(id="pointless")
def pointless():
    print("at the start", flush=True)
"""


def _committed_rate(site: Site, task: str) -> float:
    text = """
        SELECT count(*) / extract(epoch FROM max(c.created_at) - min(c.created_at))
        FROM checkpoints_checkpoint c JOIN runs_run r ON r.id = c.run_id
        WHERE r.task_id = %s AND r.id IN (SELECT id FROM runs_run WHERE task_id = %s ORDER BY id DESC LIMIT %s)
    """
    with psycopg.connect(site.info["database_url"]) as database:
        row = database.execute(text, (task, task, PARALLEL_RUNS)).fetchone()
    return 0.0 if row is None else float(row[0])


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="trigger-bench-tasks-"))
    try:
        (folder / "trigger.toml").write_text('name = "checkpoint-bench"\n')
        (folder / "checkpoint_tasks.py").write_text(source())
        yield folder
    finally:
        shutil.rmtree(folder)
