"""Compares the end-to-end figures with those of other task queues, measured in the same run on the same machine.

The others are driven by a prepared copy of the side-by-side bench, with a separate environment for each; its README
says how it measures. All of them run tasks inside the worker's process.
"""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measures import Row

SYSTEMS = ("pgqueuer", "oban", "chancy", "dbos", "procrastinate", "djtasks", "absurd", "awa", "dramatiqpg", "djangoq")
OURS = ("engine", "burst", "burst_warm", "pickup")
ARGUMENTS = ("--only", "W2,W3", "--sync", "on", "--p1", "--forget", "--reps", "3", "--w3n", "99")
"""Drain and pick-up, each three times, committed durably, by one process, without results of earlier runs."""
PORT = 55432
SYSTEM_SECONDS = 600.0


def rivals(folder: Path, measure: Callable[[str], list[Row]]) -> list[Row]:
    """Measures ours first, then each system set up in the folder; `measure` takes the name of one of ours."""
    ready = [name for name in SYSTEMS if _python(folder, name).exists()]
    if not ready:
        raise RuntimeError(f"no system is set up in {folder}: run its setup_envs.sh")
    rows = [row for name in OURS for row in measure(name)]
    with _server(folder):
        for name in ready:
            rows += _system(folder, name)
    return rows


def _system(folder: Path, name: str) -> list[Row]:
    """Measures a no-op drain by one worker process, and the time until a task runs on an idle system."""
    path = folder / "results" / f"{name}.json"
    path.unlink(missing_ok=True)
    code = _run_bench(folder, name)
    rows = _rows(name, json.loads(path.read_text())) if path.exists() else []
    if code or not rows:
        rows.append(
            Row(name, float("nan"), "", "", f"could not be measured completely: see results/{name}.log of the bench")
        )
    return rows


def _run_bench(folder: Path, name: str) -> int:
    """Returns its exit code; leaves nothing running. It has its own session, and so does each of its workers."""
    environment = {**os.environ, "BENCH_NICE": "0", "BENCH_PG_PORT": str(PORT)}
    with (folder / "results" / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [str(_python(folder, name)), "bench.py", name, *ARGUMENTS],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        return process.wait(SYSTEM_SECONDS)
    except subprocess.TimeoutExpired:
        return 1
    finally:
        _kill_tree(process)


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def _rows(name: str, result: dict[str, Any]) -> list[Row]:
    drained, picked_up = result["w"].get("W2_p1_on"), result["w"].get("W3")
    rows = []
    if drained is not None:
        around = (
            f"{drained['n']:,} runs, one process, {drained['concurrency']} at once; CPU µs per run: "
            f"worker {drained['worker_us']:,.0f}, postgres {drained['server_us']:,.0f}"
        )
        rows.append(Row(f"{name}: no-op drain, in its own process", drained["rate"], "runs/s", "", around))
    if picked_up is not None:
        around = f"p99 {picked_up['p99']:,.1f} ms; enqueued → task code, {picked_up['n']} runs"
        rows.append(Row(f"{name}: pick-up when idle, p50", picked_up["p50"], "ms", "", around))
    return rows


@contextmanager
def _server(folder: Path) -> Iterator[None]:
    """Starts the bench's own Postgres; one that is already running is left alone."""
    if _answers():
        yield
        return
    subprocess.run([str(folder / "pg.sh"), "start"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        subprocess.run([str(folder / "pg.sh"), "stop"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def _python(folder: Path, name: str) -> Path:
    return folder / "venvs" / name / "bin" / "python"
