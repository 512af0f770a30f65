"""`make run` as a person uses it: a process, its lines, its files, Ctrl-C; and what goes wrong is said clearly."""

import html
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.databases import copy_cluster
from trigger_site.development.local import prepare_var, socket_dir, worker_dir
from trigger_site.development.processes import own_folder

ROOT = Path(__file__).resolve().parent.parent.parent
HEALTHY_SECONDS = 180.0
STOP_SECONDS = 60.0
ARGUMENTS = ("--port", "0", "--no-browser", "--executor", "process")


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


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: that one is closed to the user that runs the database when we are root."""
    path = Path(tempfile.mkdtemp(prefix="trigger-run-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def made_cluster(folder: Path) -> None:
    """The database is there already: making it is most of a first start, which one test is about."""
    prepare_var(folder / "var")
    copy_cluster(folder / "var" / "postgres")


WITH_CLUSTER = pytest.mark.usefixtures("made_cluster")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., MakeRun]]:
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


def test_first_start_second_start_and_a_clean_stop(start: Callable[..., MakeRun]) -> None:
    first = start()
    info = first.wait_until_healthy()
    link = next(word for line in first.output.splitlines() if "Dashboard" in line for word in line.split()[1:])
    processes = processes_of(info)

    assert first.info_path.stat().st_mode & 0o777 == 0o600
    assert {"web", "coordinator", "worker", "postgres", "supervisor"} <= set(info["pids"])
    assert status_of(f"{info['url']}/health") == 200
    assert status_of(f"{info['coordinator_url']}/health") == 200
    assert status_of(link) in (200, 302)
    assert info["executor"] == "process"

    first.supervisor().send_signal(signal.SIGINT)
    assert first.wait() == 0, first.output
    assert_all_end(processes, STOP_SECONDS)
    assert not first.info_path.exists()
    assert "Stopped" in first.output

    second = start()
    again = second.wait_until_healthy()

    assert again["api_key"] == info["api_key"]
    assert again["password"] == info["password"]
    assert "deploy" not in second.output


@WITH_CLUSTER
def test_command_of_the_first_page_works_as_copied(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()
    page = first_page(run, info["url"])

    # The command finds the installation by the folder `var` where it is called, which is not the checkout's here.
    (run.var_dir.parent / ".venv").symlink_to(ROOT / ".venv")
    command = html.unescape(re.findall(r'data-copy="([^"]+)"', page)[0])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=run.var_dir.parent,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=HEALTHY_SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in (done.stdout + done.stderr).lower()
    assert f"Try        {command}\n" in run.output
    assert f"\n{command}\n" in (ROOT / "README.md").read_text()
    assert "annot connect" not in run.output


def first_page(run: MakeRun, url: str) -> str:
    """What the printed link leads a newcomer to."""
    link = next(word for line in run.output.splitlines() if "Dashboard" in line for word in line.split()[1:])
    with requests.Session() as session:
        form = session.get(link).text
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[0]
        return session.post(link, data={"csrfmiddlewaretoken": token}, headers={"Referer": url}).text


@WITH_CLUSTER
def test_worker_has_neither_database_nor_secret_key(start: Callable[..., MakeRun]) -> None:
    info = start().wait_until_healthy()

    environment = psutil.Process(info["pids"]["worker"]).environ()
    command = " ".join(psutil.Process(info["pids"]["worker"]).cmdline())

    assert "apps.workers.node" in command
    assert not {"TRIGGER_DATABASE_URL", "TRIGGER_SECRET_KEY", "DJANGO_SETTINGS_MODULE"} & set(environment)


@WITH_CLUSTER
def test_child_that_dies_ends_everything_with_its_reason(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()
    processes = processes_of(info)

    psutil.Process(info["pids"]["coordinator"]).kill()

    assert run.wait() != 0
    assert "coordinator was killed by SIGKILL" in run.output
    assert_all_end(processes, STOP_SECONDS)


@WITH_CLUSTER
def test_database_that_dies_ends_everything_with_its_reason(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()
    processes = processes_of(info)

    psutil.Process(info["pids"]["postgres"]).kill()

    assert run.wait() != 0
    assert "The database ended by itself" in run.output
    assert_all_end(processes, STOP_SECONDS)


@WITH_CLUSTER
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_killed_supervisor_leaves_no_process_and_the_next_start_works(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()
    processes = processes_of(info)

    run.supervisor().kill()

    assert run.wait() != 0
    assert_all_end(processes, STOP_SECONDS)
    assert start().wait_until_healthy()["api_key"] == info["api_key"]


@WITH_CLUSTER
def test_second_start_on_the_same_folder_names_the_first(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()

    second = start()

    assert second.wait() != 0
    assert f"process {info['pids']['supervisor']}" in second.output
    assert status_of(f"{info['url']}/health") == 200


def test_taken_port_is_named_with_its_holder(start: Callable[..., MakeRun]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]

        run = start("--port", str(port), "--no-browser")

        assert run.wait() != 0
        assert f"Cannot listen on 127.0.0.1:{port}" in run.output
        assert f"process {os.getpid()}" in run.output
        assert f"--port {port + 1}" in run.output
        assert "Traceback" not in run.output


def test_folder_of_another_version_is_refused(start: Callable[..., MakeRun], folder: Path) -> None:
    (folder / "var" / "secrets").mkdir(parents=True)
    (folder / "var" / "layout-version").write_text("99\n")

    run = start()

    assert run.wait() != 0
    assert "layout 99" in run.output
    assert "Traceback" not in run.output


@WITH_CLUSTER
def test_fresh_begins_with_an_empty_database(start: Callable[..., MakeRun]) -> None:
    run = start()
    info = run.wait_until_healthy()
    run.end()

    again = start(*ARGUMENTS, "--fresh").wait_until_healthy()

    assert again["api_key"] != info["api_key"]
    assert status_of(f"{again['url']}/health") == 200


def test_folder_lock_is_free_when_its_owner_is_gone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from trigger_site.development.processes import own_folder\n"
        "held = own_folder(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    owner.kill()
    owner.wait()
    owner.stdout.close()

    own_folder(tmp_path / "lock").close()
