"""`make run` as a person uses it: it starts, stops and starts again; and what goes wrong is said clearly."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.acceptance.make_run import (
    ARGUMENTS,
    ROOT,
    STOP_SECONDS,
    WITH_EXAMPLES,
    MakeRun,
    assert_all_end,
    make_cluster,
    make_runs,
    processes_of,
    run_folder,
    status_of,
)
from trigger_site.development.processes import own_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with run_folder() as path:
        yield path


@pytest.fixture
def made_cluster(folder: Path) -> None:
    make_cluster(folder)


WITH_CLUSTER = pytest.mark.usefixtures("made_cluster")


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., MakeRun]]:
    with make_runs(folder) as start_one:
        yield start_one


def test_first_start_second_start_and_a_clean_stop(start: Callable[..., MakeRun]) -> None:
    first = start(*WITH_EXAMPLES)
    info = first.wait_until_healthy()
    link = next(word for line in first.output.splitlines() if "Dashboard" in line for word in line.split()[1:])
    processes = processes_of(info)

    assert first.info_path.stat().st_mode & 0o777 == 0o600
    assert {"web", "coordinator", "worker", "postgres", "supervisor"} <= set(info["pids"])
    assert status_of(f"{info['url']}/health") == 200
    assert status_of(f"{info['coordinator_url']}/health") == 200
    assert status_of(link) in (200, 302)
    assert info["executor"] == "process"
    assert "Deployed orders" in first.output

    first.supervisor().send_signal(signal.SIGINT)
    assert first.wait() == 0, first.output
    assert_all_end(processes, STOP_SECONDS)
    assert not first.info_path.exists()
    assert "Stopped" in first.output

    second = start(*WITH_EXAMPLES)
    again = second.wait_until_healthy()

    assert again["api_key"] == info["api_key"]
    assert again["password"] == info["password"]
    assert "deploy" not in second.output


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
