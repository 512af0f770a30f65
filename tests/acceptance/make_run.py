"""A `make run` of its own for a test: the process with its output, and the folder that it works in."""

import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.databases import copy_cluster
from trigger_site.development.local import prepare_var, socket_dir, worker_dir

ROOT = Path(__file__).resolve().parent.parent.parent
HEALTHY_SECONDS = 180.0
STOP_SECONDS = 60.0
WITH_EXAMPLES = ("--port", "0", "--no-browser", "--executor", "process")
ARGUMENTS = (*WITH_EXAMPLES, "--no-examples")


class MakeRun:
    """One `make run` on a folder of its own, with its output in a file."""

    def __init__(self, var_dir: Path, *arguments: str) -> None:
        self.var_dir = var_dir
        self.info_path = var_dir / "dev.json"
        self.output_path = var_dir.with_name(f"{secrets.token_hex(4)}.out")
        # The session's own variables would lead it to the tests' database.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("TRIGGER_", "DJANGO_"))}
        with self.output_path.open("w") as output:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", "run", f"ARGS={' '.join(arguments)}"],
                cwd=ROOT,
                env=environment | {"TRIGGER_VAR_DIR": str(var_dir)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    def wait_until_healthy(self) -> dict[str, Any]:
        wait_for(lambda: "Ctrl-C stops" in self.output or self.process.poll() is not None, HEALTHY_SECONDS, self)
        assert self.process.poll() is None, self.output
        return dict(json.loads(self.info_path.read_text()))

    def supervisor(self) -> psutil.Process:
        return psutil.Process(json.loads(self.info_path.read_text())["pids"]["supervisor"])

    def wait(self) -> int:
        try:
            return self.process.wait(HEALTHY_SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"make run did not end:\n{self.output}")

    def end(self) -> None:
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children():
                child.send_signal(signal.SIGTERM)
            self.wait()


def wait_for(condition: Callable[[], bool], seconds: float, run: MakeRun) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, run.output
        time.sleep(0.05)


@contextmanager
def run_folder() -> Iterator[Path]:
    """Not pytest's own: that one is closed to the user that runs the database when we are root."""
    path = Path(tempfile.mkdtemp(prefix="trigger-run-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def make_cluster(folder: Path) -> None:
    """The database is there already: making it is most of a first start, which one test is about."""
    prepare_var(folder / "var")
    copy_cluster(folder / "var" / "postgres")


@contextmanager
def make_runs(folder: Path) -> Iterator[Callable[..., MakeRun]]:
    """Starts one at each call, without the examples unless told; ends them."""
    runs: list[MakeRun] = []

    def start_one(*arguments: str) -> MakeRun:
        runs.append(MakeRun(folder / "var", *(arguments or ARGUMENTS)))
        return runs[-1]

    yield start_one
    for run in runs:
        run.end()
    if (folder / "var" / "secrets").exists():
        for path in (socket_dir(folder / "var"), worker_dir(folder / "var")):
            shutil.rmtree(path, ignore_errors=True)


def status_of(url: str) -> int:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)) as client:
        client.request("GET", parts.path)
        return client.getresponse().status


def processes_of(info: dict[str, Any]) -> list[psutil.Process]:
    """Everything that the start left running, grandchildren too."""
    roots = [psutil.Process(pid) for pid in info["pids"].values()]
    return [*roots, *(child for root in roots for child in root.children(recursive=True))]


def assert_all_end(processes: list[psutil.Process], seconds: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert [(process.pid, process.cmdline()) for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
