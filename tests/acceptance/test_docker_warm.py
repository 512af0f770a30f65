"""Containers whose process takes several runs, and the larger memory limit after one that was too small."""

from pathlib import Path

import docker
import msgspec
import pytest

from apps.protocol import TaskOptions
from tests.acceptance.docker_support import (
    MEMORY_BYTES,
    TASKS,
    deployment_of,
    left_on_engine,
    make_config,
    open_executor,
    write_folder,
)
from tests.unit.workers.test_node_warm import Node, output, until

pytestmark = pytest.mark.docker

SMALL_BYTES = 64 * 1024 * 1024
SOURCE = """
import os, subprocess
from trigger_sdk import task

seen = []

@task(id="t", warm_start="same_process")
def t(name: str = "", megabytes: int = 0):
    found = [sorted(os.listdir(place)) for place in ("/work", "/tmp", "/dev/shm")]
    for place in ("/work", "/tmp/deep", "/dev/shm"):
        os.makedirs(place, exist_ok=True)
        open(f"{place}/left by {name}", "w").close()
    subprocess.Popen(["sleep", "600"])
    seen.append(len(b"x" * (megabytes << 20)))
    processes = sum(part.isdigit() for part in os.listdir("/proc"))
    return [len(seen), found, processes, os.getcwd()]
"""
OPTIONS = TaskOptions(memory_bytes=MEMORY_BYTES, warm_start="same_process")


@pytest.mark.asyncio
async def test_next_run_finds_the_process_in_its_container_and_no_file(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    reply = deployment_of(write_folder(tmp_path / "warm", tasks=SOURCE), tasks={"t": OPTIONS})
    async with open_executor(make_config(worker_folder)) as executor:
        node = Node(executor, reply)
        finishes = [await node.run(name=name) for name in "ABC"]

        assert [finish.start_kind for finish in finishes] == ["cold", "warm", "warm"]
        assert len({finish.container for finish in finishes}) == 1
        assert [output(finish) for finish in finishes] == [[n, [[], [], []], 3, "/work"] for n in (1, 2, 3)]
        assert len(left_on_engine(docker_client, worker_folder)[0]) == 1

        docker_client.kill(finishes[0].container)
        await until(lambda: len(executor._warm) == 0)
        assert (await node.run(name="D")).start_kind == "cold"
        await until(lambda: len(left_on_engine(docker_client, worker_folder)[0]) == 1)

    assert left_on_engine(docker_client, worker_folder) == ([], [])


@pytest.mark.asyncio
async def test_later_run_that_needs_too_much_memory_is_told_so(
    docker_client: docker.APIClient, worker_folder: Path, tmp_path: Path
) -> None:
    reply = deployment_of(write_folder(tmp_path / "warm", tasks=SOURCE), tasks={"t": OPTIONS})
    async with open_executor(make_config(worker_folder)) as executor:
        node = Node(executor, reply)
        await node.run()
        eaten = await node.run(megabytes=600)

        assert (eaten.outcome, eaten.start_kind) == ("out_of_memory", "warm")


@pytest.mark.asyncio
@pytest.mark.parametrize("warm_start", ["fork", "same_process"])
async def test_attempt_after_one_that_ran_out_of_memory_has_the_larger_limit(
    docker_client: docker.APIClient, worker_folder: Path, warm_start: str
) -> None:
    options = TaskOptions(memory_bytes=SMALL_BYTES, retry_out_of_memory_bytes=4 * MEMORY_BYTES, warm_start=warm_start)
    reply = msgspec.structs.replace(deployment_of(TASKS), tasks={"hoard": options})
    async with open_executor(make_config(worker_folder)) as executor:
        node = Node(executor, reply)
        node.task = "hoard"
        small = await node.run(megabytes=1)
        first = await node.run(megabytes=200)
        node.has_run_out_of_memory = True
        second = await node.run(megabytes=200)

    assert (small.outcome, first.outcome) == ("completed", "out_of_memory")
    assert "64 MB" in (first.error or {})["message"]
    assert output(second) == 200 << 20
    assert second.container not in {small.container, first.container}
