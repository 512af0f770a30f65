"""Which executor a node gets, with a real engine, with none, and with one that does not answer."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from apps.workers.node.executors.base import Executor, ExecutorUnavailableError
from apps.workers.node.executors.docker.containers import ContainerSpec
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.probe import Probe, ProbeError
from apps.workers.node.executors.select import PROBE_SECONDS, select_executor
from tests.acceptance.docker_support import left_on_engine, make_config


@contextlib.asynccontextmanager
async def selected(folder: Path, executor: str, **overrides: str) -> AsyncIterator[Executor]:
    chosen = await select_executor(make_config(folder, executor=executor, **overrides))
    try:
        yield chosen
    finally:
        await chosen.close()


@pytest.mark.docker
@pytest.mark.asyncio
async def test_auto_takes_containers_after_a_trial_that_it_remembers(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    async with selected(worker_folder, "auto") as first:
        remembered = (worker_folder / "docker" / "probe.json").stat().st_mtime_ns
        async with selected(worker_folder, "auto") as second:
            pass

    assert first.name == second.name == "docker"
    assert "containers" in first.note
    assert (worker_folder / "docker" / "probe.json").stat().st_mtime_ns == remembered
    assert left_on_engine(docker_client, worker_folder) == ([], [])


@pytest.mark.docker
@pytest.mark.asyncio
async def test_auto_takes_processes_where_the_base_image_cannot_be_had(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    async with selected(worker_folder, "auto", base_image="localhost:1/no/such-image:1") as executor:
        assert executor.name == "process"
        assert "localhost:1/no/such-image:1" in executor.note


@pytest.mark.docker
@pytest.mark.asyncio
async def test_trial_notices_a_memory_limit_that_is_not_enforced(
    docker_client: docker.APIClient, worker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "_spec", unlimited(Probe._spec))
    (worker_folder / "docker").mkdir()
    engine = Engine(os.environ)
    try:
        with pytest.raises(ProbeError, match="memory limit"):
            await Probe(engine, make_config(worker_folder), pull_seconds=1.0).run()
    finally:
        engine.close()

    assert left_on_engine(docker_client, worker_folder) == ([], [])


@pytest.mark.asyncio
async def test_auto_takes_processes_without_an_engine_and_says_so(
    worker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{worker_folder}/nobody.sock")

    async with selected(worker_folder, "auto") as executor:
        assert executor.name == "process"
        assert f"no container engine answers on unix://{worker_folder}/nobody.sock" in executor.note


@pytest.mark.asyncio
async def test_docker_that_cannot_be_had_is_an_error_with_the_same_reason(
    worker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{worker_folder}/nobody.sock")

    with pytest.raises(ExecutorUnavailableError, match="no container engine answers on unix://"):
        await select_executor(make_config(worker_folder, executor="docker"))


@pytest.mark.asyncio
async def test_engine_that_never_answers_costs_no_more_than_the_trials_time(
    worker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{worker_folder}/mute.sock")
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: held.append(writer), f"{worker_folder}/mute.sock")
    started = time.monotonic()

    async with selected(worker_folder, "auto") as executor:
        assert executor.name == "process"
        assert "mute.sock" in executor.note

    assert time.monotonic() - started < PROBE_SECONDS + 20
    server.close()
    for writer in held:
        writer.close()


@pytest.mark.parametrize("executor", ["process", "auto"])
def test_worker_without_containers_never_loads_the_engines_library(worker_folder: Path, executor: str) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path;"
        "from apps.workers.node.config import read_config;"
        "from apps.workers.node.executors.select import select_executor;"
        "chosen = asyncio.run(select_executor(read_config(['--executor', sys.argv[1]], {'TRIGGER_WORKER_TOKEN': 'x',"
        " 'TRIGGER_WORKER_DIR': sys.argv[2]})));"
        "print(chosen.name, sorted({'docker', 'requests', 'urllib3'} & set(sys.modules)))"
    )
    environment = {"PYTHONPATH": ".:sdk/python", "DOCKER_HOST": f"unix://{worker_folder}/nobody.sock"}

    done = subprocess.run(
        [sys.executable, "-c", code, executor, str(worker_folder)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert done.stdout.strip() == "process []"


def unlimited(spec: Callable[[Probe, Path], ContainerSpec]) -> Callable[[Probe, Path], ContainerSpec]:
    """The same container with a limit that the trial's process never reaches."""
    return lambda probe, folder: replace(spec(probe, folder), memory_bytes=1024**3)
