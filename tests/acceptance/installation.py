"""A real installation for a test: coordinator, web and workers as processes of `manage.py` that can be killed."""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psycopg
from trigger_sdk import Client

from tests.ports import reserve_port

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_SECONDS = 180.0

T = TypeVar("T")


def until(condition: Callable[[], T], what: str) -> T:
    """The condition's first true value; fails after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_SECONDS:g} s: {what}"
        time.sleep(0.02)
    return value


class Installation:
    """Processes on one database, which has all migrations; `folder` is short, because sockets lie below it."""

    def __init__(self, database_url: str, folder: Path, role: str = "operator") -> None:
        self.database_url = database_url
        self.folder = folder
        self.role = role
        self.processes: list[subprocess.Popen[bytes]] = []
        self.web_port, self.coordinator_port = reserve_port(), reserve_port()
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("TRIGGER_")} | {
            "TRIGGER_DATABASE_URL": database_url,
            "TRIGGER_VAR_DIR": str(folder / "var"),
            "TRIGGER_SECRET_KEY": secrets.token_hex(32),
            "TRIGGER_WORKER_TOKEN": secrets.token_hex(32),
            "TRIGGER_COORDINATOR_URL": f"http://127.0.0.1:{self.coordinator_port}",
            "TRIGGER_DRAIN_SECONDS": "1",
        }
        self.client = Client(f"http://127.0.0.1:{self.web_port}", "unset")

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT, env=self._environment | variables, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        log.close()
        self.processes.append(process)
        return process

    def start_coordinator(self) -> subprocess.Popen[bytes]:
        self._launch_coordinator()
        self._await_coordinator()
        return self.coordinator_process

    def _launch_coordinator(self) -> None:
        self.coordinator_process = self.start("coordinator", "runcoordinator", "--port", str(self.coordinator_port))

    def _await_coordinator(self) -> None:
        until(lambda: answers(f"http://127.0.0.1:{self.coordinator_port}/health"), f"coordinator: {self.logs()}")

    def start_servers(self) -> None:
        """Coordinator and web at the same time."""
        self._launch_coordinator()
        self.start_web()
        self._await_coordinator()

    def start_worker(self, executor: str = "process") -> subprocess.Popen[bytes]:
        before = self.worker_count()
        folder = self.folder / f"w{len(self.processes)}"
        process = self.start("worker", "runworker", "--executor", executor, TRIGGER_WORKER_DIR=str(folder))
        until(lambda: self.worker_count() > before, f"worker: {self.logs()}")
        return process

    def start_web(self) -> None:
        """With a key for `client`."""
        self.start("web", "runweb", "--port", str(self.web_port))
        key = self.manage(
            "shell", "--no-imports", "-c",
            f"from apps.access.keys import create_key; print('KEY', create_key(name='test', role={self.role!r})[1])",
        ).split("KEY ")[1].split()[0]  # fmt: skip
        until(lambda: answers(f"http://127.0.0.1:{self.web_port}/health"), f"web: {self.logs()}")
        self.client.close()
        self.client = Client(f"http://127.0.0.1:{self.web_port}", key)

    def worker_count(self) -> int:
        return len(self.query("SELECT id FROM workers_worker"))

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as database:
            cursor = database.execute(sql.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def stop_workers(self) -> None:
        """Those that are running, together."""
        workers = [process for process in self.processes if "runworker" in list(process.args)]  # type: ignore[arg-type]
        for process in workers:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        _await_ends(workers)

    def stop(self) -> None:
        self.client.close()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        _await_ends(self.processes)


def _await_ends(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def hand_token_over() -> None:
    """For a worker's program inside a test's own process: as its command does it, which the program would else
    replace."""
    from apps.workers.node.hiding import hand_over

    variables = hand_over(os.environ)
    os.environ.clear()
    os.environ.update(variables)


@contextmanager
def installation(database_url: str, *, role: str = "operator") -> Iterator[Installation]:
    """Coordinator and web are running; the test starts its workers. `role` is that of the client's key."""
    with tempfile.TemporaryDirectory(prefix="ti-") as folder:
        site = Installation(database_url, Path(folder), role)
        try:
            site.start_servers()
            yield site
        finally:
            site.stop()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
