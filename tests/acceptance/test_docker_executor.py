"""Attempts in real containers: what they can do, what they cannot reach, how they end, and what is left of them."""

import asyncio
import hashlib
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, NotFound

from apps.workers.node.executors.base import ExecutorUnavailableError, StartFailedError
from apps.workers.node.executors.docker.containers import NETWORK, NETWORK_OPTIONS
from tests.acceptance.docker_support import (
    BASE_IMAGE,
    END_SECONDS,
    MEMORY_BYTES,
    TASKS,
    deployment_of,
    left_on_engine,
    make_config,
    open_executor,
    running,
    write_folder,
)

pytestmark = pytest.mark.docker

DEPLOYMENT = deployment_of(TASKS)
NO_CAPABILITIES = "0" * 16


@pytest.mark.asyncio
async def test_attempt_completes_in_a_container_that_is_gone_afterwards(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    async with open_executor(make_config(worker_folder)) as executor:
        async with running(executor, DEPLOYMENT, "greet", is_gated=True, name="Ada") as run:
            await run.at_checkpoint()
            found = docker_client.inspect_container(run.container)
            volume = next(mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume")
            await run.go_on()
            output = await run.returned()

        assert output["greeting"] == "Hello, Ada."
        assert output["folder"] == "/work"
        assert int(output["pid"]) > 1
        assert found["Config"]["Labels"]["trigger-site.task"] == "greet"
        assert found["Name"] == "/" + found["Config"]["Labels"]["trigger-site.attempt"]
        with pytest.raises(NotFound):
            docker_client.inspect_container(run.container)
        with pytest.raises(NotFound):
            docker_client.inspect_volume(volume)
        assert list((worker_folder / "docker" / "s").iterdir()) == []


@pytest.mark.asyncio
async def test_workers_that_begin_together_end_up_with_one_network(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    """Engines before version 25 make two of one name where two ask at once, and start nothing on a name that means
    two."""
    for _ in range(2):
        with suppress(APIError):
            docker_client.create_network(NETWORK, driver="bridge", options=NETWORK_OPTIONS, check_duplicate=False)

    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "greet", name="Ada") as run,
    ):
        output = await run.returned()

    assert output["greeting"] == "Hello, Ada."
    assert [network["Name"] for network in docker_client.networks(names=[NETWORK])].count(NETWORK) == 1


@pytest.mark.asyncio
async def test_container_gives_the_task_nothing_but_its_folder_and_its_socket(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    config = make_config(worker_folder)
    secret_hash = hashlib.sha256(config.worker_token.encode()).hexdigest()

    async with (
        open_executor(config) as executor,
        running(executor, DEPLOYMENT, "look-around", secret_hash=secret_hash) as run,
    ):
        seen = await run.returned()

    assert set(seen["ids"]) == {10001}
    assert seen["user"] == "/work"
    assert seen["capabilities"] == [NO_CAPABILITIES] * 5
    assert seen["no_new_privileges"] == "1"
    assert seen["seccomp"] == "2"
    assert seen["root_write"] == seen["sdk_write"] == seen["socket_folder_write"] == "EROFS"
    assert seen["work_write"] == seen["tmp_write"] == ""
    assert seen["tmp_bytes"] == MEMORY_BYTES // 4
    assert seen["agent_memory"] in {"EACCES", "EPERM"}
    assert seen["agent_environment"] in {"EACCES", "EPERM"}
    assert seen["outside"] == []
    assert seen["found_secret"] == []
    assert config.worker_token not in str(seen["environment"])
    assert {name for name in seen["environment"] if name.startswith(("TRIGGER", "DOCKER"))} == set()
    assert len(seen["processes"]) == 2, "the agent and the run's process, and nothing of the node"


@pytest.mark.asyncio
async def test_number_of_processes_is_limited(docker_client: docker.APIClient, worker_folder: Path) -> None:
    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "fork-without-end", memory_bytes=2 * 1024**3) as run,
    ):
        count = await run.returned()

    assert 400 < count < 512


@pytest.mark.asyncio
async def test_containers_cannot_reach_each_other(docker_client: docker.APIClient, worker_folder: Path) -> None:
    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "listen", is_gated=True) as listening,
    ):
        address = (await listening.at_checkpoint())["address"]
        socket.create_connection((address, 9000), timeout=5).close()  # it does listen
        async with running(executor, DEPLOYMENT, "reach", address=address, port=9000) as run:
            answer = await run.returned()

    assert answer in {"TimeoutError", "ConnectionRefusedError", "OSError"}


@pytest.mark.asyncio
async def test_run_above_its_memory_limit_is_told_so(docker_client: docker.APIClient, worker_folder: Path) -> None:
    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "hoard", memory_bytes=64 * 1024 * 1024, megabytes=200) as run,
    ):
        finish = await run.finish()

    assert finish.outcome == "out_of_memory"
    assert finish.error is not None
    assert finish.error["type"] == "OutOfMemory"


@pytest.mark.asyncio
async def test_tasks_that_need_more_memory_to_load_than_there_is_say_so(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    greedy = write_folder(tmp_path / "greedy", tasks="import trigger_sdk\nmodel = b'x' * 200_000_000\n")

    async with open_executor(make_config(worker_folder)) as executor:
        with pytest.raises(StartFailedError, match=r"memory limit|out of memory"):
            async with running(executor, deployment_of(greedy), "any", memory_bytes=64 * 1024 * 1024):
                pass


@pytest.mark.asyncio
async def test_attempts_name_that_is_taken_by_something_else_is_freed(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    name = f"test-{worker_folder.name}-1"
    taken = docker_client.create_container(BASE_IMAGE, ["true"], name=name)["Id"]

    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "greet", attempt_name=name, name="Ada") as run,
    ):
        assert (await run.returned())["greeting"] == "Hello, Ada."

    with pytest.raises(NotFound):
        docker_client.inspect_container(taken)


@pytest.mark.asyncio
async def test_killed_container_is_a_crash_with_the_engines_reason(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "greet", is_gated=True, name="Ada") as run,
    ):
        await run.at_checkpoint()
        docker_client.kill(run.container)
        finish = await run.finish()

    assert finish.outcome == "crashed"
    assert finish.exit_code == 137
    assert finish.error is not None
    assert "137" in finish.error["message"]


@pytest.mark.asyncio
async def test_folder_that_does_not_import_fails_to_start_with_its_error(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    broken = write_folder(tmp_path / "broken", tasks="import trigger_sdk\nraise ZeroDivisionError('no tasks today')\n")

    async with open_executor(make_config(worker_folder)) as executor:
        with pytest.raises(StartFailedError, match="ZeroDivisionError: no tasks today"):
            async with running(executor, deployment_of(broken), "greet", name="Ada"):
                pass

        assert left_on_engine(docker_client, worker_folder) == ([], [])


@pytest.mark.asyncio
async def test_image_without_python_fails_to_start_with_the_engines_words(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    bare = write_folder(tmp_path / "bare", Dockerfile="FROM scratch\nCOPY tasks.py /\n", tasks="import trigger_sdk\n")

    async with open_executor(make_config(worker_folder)) as executor:
        with pytest.raises(StartFailedError, match="python3"):
            async with running(executor, deployment_of(bare), "greet", name="Ada"):
                pass


@pytest.mark.asyncio
async def test_killed_worker_leaves_nothing_after_the_next_start(
    docker_client: docker.APIClient, worker_folder: Path
) -> None:
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.acceptance.docker_worker", str(worker_folder), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    container = (await asyncio.wait_for(worker.stdout.readline(), 60)).decode().strip()
    assert docker_client.inspect_container(container)["State"]["Running"]

    worker.send_signal(signal.SIGKILL)
    await worker.wait()

    deadline = time.monotonic() + END_SECONDS
    while docker_client.inspect_container(container)["State"]["Running"]:
        assert time.monotonic() < deadline, "the agent outlives its worker"
        await asyncio.sleep(0.1)
    async with open_executor(make_config(worker_folder)):
        assert left_on_engine(docker_client, worker_folder) == ([], [])


@pytest.mark.asyncio
async def test_only_one_worker_has_a_folder(docker_client: docker.APIClient, worker_folder: Path) -> None:
    async with open_executor(make_config(worker_folder)):
        with pytest.raises(ExecutorUnavailableError, match="TRIGGER_WORKER_DIR"):
            async with open_executor(make_config(worker_folder)):
                pass

    async with open_executor(make_config(worker_folder)):
        assert (worker_folder / "docker" / "lock").exists()


@pytest.mark.asyncio
async def test_engine_that_is_not_there_is_named(worker_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{worker_folder}/nobody.sock")

    with pytest.raises(ExecutorUnavailableError, match=r"nobody\.sock"):
        async with open_executor(make_config(worker_folder)):
            pass


@pytest.mark.asyncio
async def test_container_that_nobody_holds_is_reaped(
    docker_client: docker.APIClient, worker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.workers.node.executors.docker.executor.REAP_SECONDS", 0.05)
    async with (
        open_executor(make_config(worker_folder)) as executor,
        running(executor, DEPLOYMENT, "greet", is_gated=True, name="Ada") as run,
    ):
        await run.at_checkpoint()
        labels = docker_client.inspect_container(run.container)["Config"]["Labels"]
        image = docker_client.inspect_container(run.container)["Image"]
        docker_client.create_container(image, ["true"], labels=labels, name=f"{labels['trigger-site.attempt']}-stray")

        deadline = time.monotonic() + END_SECONDS
        while len(left_on_engine(docker_client, worker_folder)[0]) > 1:
            assert time.monotonic() < deadline, "the stray is still there"
            await asyncio.sleep(0.05)

        await run.go_on()
        assert (await run.returned())["greeting"] == "Hello, Ada."
