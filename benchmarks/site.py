"""Starts a site for a measurement: `manage.py dev` on an empty folder and a free port, with benchmark tasks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from trigger_sdk import Client

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """A running site: its client, its processes by role and the contents of its `var/dev.json`."""

    client: Client
    info: dict[str, Any]
    environment: dict[str, str]

    def deploy(self, folder: Path) -> None:
        command = [sys.executable, str(ROOT / "manage.py"), "deploy", str(folder)]
        done = subprocess.run(command, env=self.environment, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{folder} could not be deployed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def run_module(self, module: str, *arguments: str) -> Any:
        """Returns what `python -m benchmarks.<module>` printed as JSON, with Django set up for this site's database."""
        environment = {
            **self.environment,
            "TRIGGER_DATABASE_URL": self.info["database_url"],
            "DJANGO_SETTINGS_MODULE": "trigger_site.settings",
            "PYTHONPATH": str(ROOT / "sdk" / "python"),
        }
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        done = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{module} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Finds web, coordinator, worker (without what it started), tasks (agents and their children) and postgres."""
        pids: dict[str, int] = self.info["pids"]
        found = {role: [psutil.Process(pids[role])] for role in ("web", "coordinator", "worker")}
        found["tasks"] = found["worker"][0].children(recursive=True)
        found["postgres"] = postgres_processes(self.info["database_url"])
        return found

    def cpu_seconds(self) -> dict[str, float]:
        """Returns CPU time by role since the processes began, with their reaped children."""
        return {role: cpu_seconds_of(each) for role, each in self.processes().items()}


@contextmanager
def running_site(*, executor: str, concurrency: int) -> Iterator[Site]:
    """Starts a site with the benchmark's tasks deployed, and stops it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="trigger-bench-"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIGGER_")}
    environment |= {name: os.environ[name] for name in ("TRIGGER_BASE_IMAGE",) if name in os.environ}
    environment["TRIGGER_VAR_DIR"] = str(folder / "var")
    arguments = ["--port", str(free_port()), "--no-browser", "--executor", executor, "--concurrency", str(concurrency)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), "dev", *arguments],
            env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        info = _wait_ready(process, folder)
        site = Site(Client(info["url"], info["api_key"]), info, environment)
        site.deploy(ROOT / "benchmarks" / "tasks")
        yield site
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def percentile(values: list[float], share: float) -> float:
    """Returns the value below which this share of the values falls (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def postgres_processes(database_url: str) -> list[psutil.Process]:
    """Finds the server and all its backends by its data directory."""
    with psycopg.connect(database_url) as database:
        row = database.execute("SHOW data_directory").fetchone()
    assert row is not None
    pid = int((Path(row[0]) / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    return [postmaster, *postmaster.children()]


def cpu_seconds_of(processes: Iterable[psutil.Process]) -> float:
    """Sums the CPU time that they and their reaped children have used."""
    return sum(_cpu_seconds(process) for process in processes)


def _wait_ready(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    path = folder / "var" / "dev.json"
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"The site did not start:\n{(folder / 'log').read_text()[-3000:]}")
        time.sleep(0.05)
    info: dict[str, Any] = json.loads(path.read_text())
    return info


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
