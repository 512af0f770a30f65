"""Starts an engine by itself: the embedded Postgres of `make run` and one coordinator, without web or worker.

`lean_worker.py` claims and finishes; a real worker would take its runs.
"""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from benchmarks.site import ROOT, cpu_seconds_of, free_port, postgres_processes
from trigger_site.development.local import development_secret, prepare_var, socket_dir
from trigger_site.development.postgres import EmbeddedPostgres

START_SECONDS = 60.0
STOP_SECONDS = 20.0

TASKS = """
from trigger_sdk import task


@task(id="noop")
def noop():
    return


@task(id="keyed", concurrency_key="payload.customer", max_concurrency=1)
def keyed(customer: str):
    return
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """A running engine; `environment` is that of its commands."""

    environment: dict[str, str]
    database_url: str
    coordinator_url: str
    worker_token: str
    coordinator: psutil.Process

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.database_url, autocommit=True)

    def cpu_seconds(self) -> dict[str, float]:
        """Returns CPU time by role since the processes began."""
        return {
            "coordinator": cpu_seconds_of([self.coordinator]),
            "postgres": cpu_seconds_of(postgres_processes(self.database_url)),
        }

    def run_module(self, module: str, *arguments: str, stdin: str = "") -> dict[str, Any]:
        """Returns what `python -m benchmarks.<module>` printed as JSON."""
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        answer: dict[str, Any] = json.loads(_checked(command, self.environment, stdin))
        return answer


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Starts an engine on an empty folder with the two tasks deployed, and stops it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="trigger-bench-"))
    var_dir = folder / "var"
    prepare_var(var_dir)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = EmbeddedPostgres(var_dir / "postgres", socket_dir(var_dir))
        stack.callback(shutil.rmtree, socket_dir(var_dir), ignore_errors=True)
        stack.callback(postgres.erase)
        postgres.start()
        stack.callback(postgres.stop)
        environment = _environment(var_dir)
        _checked([sys.executable, "manage.py", "migrate", "--verbosity", "0"], environment)
        _deploy(folder, environment)
        port = free_port()
        coordinator = stack.enter_context(_coordinator(port, folder / "log", environment))
        yield Engine(
            environment, postgres.url, f"http://127.0.0.1:{port}", development_secret(var_dir, "worker_token"),
            coordinator,
        )  # fmt: skip


def _environment(var_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRIGGER_")}
    return kept | {
        "TRIGGER_VAR_DIR": str(var_dir),
        "DJANGO_SETTINGS_MODULE": "trigger_site.settings",
        "PYTHONPATH": str(ROOT / "sdk" / "python"),
    }


def _deploy(folder: Path, environment: dict[str, str]) -> None:
    tasks = folder / "tasks"
    tasks.mkdir()
    (tasks / "trigger.toml").write_text('name = "engine-bench"\n')
    (tasks / "engine_tasks.py").write_text(TASKS)
    _checked([sys.executable, "manage.py", "deploy", str(tasks)], environment)


@contextmanager
def _coordinator(port: int, log_path: Path, environment: dict[str, str]) -> Iterator[psutil.Process]:
    command = [sys.executable, "manage.py", "runcoordinator", "--port", str(port)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The coordinator did not start:\n{log_path.read_text()[-3000:]}")
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _checked(command: list[str], environment: dict[str, str], stdin: str = "") -> str:
    done = subprocess.run(command, env=environment, cwd=ROOT, input=stdin, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
