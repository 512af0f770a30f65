"""The process executor with real agents: what it shares between deployments, and what it leaves behind."""

import asyncio
import hashlib
import io
import os
import signal
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from apps.protocol import DeploymentReply, TaskOptions
from apps.workers.node.executors.base import ExecutorUnavailableError, StartFailedError, pool_key
from apps.workers.node.executors.process import ProcessExecutor
from apps.workers.node.variables import Variables

TASK = "from trigger_sdk import task\n\n@task(id='t')\ndef t():\n    return 1\n"


def deployment(source: str = TASK) -> DeploymentReply:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        member = tarfile.TarInfo("tasks.py")
        member.size = len(source.encode())
        archive.addfile(member, io.BytesIO(source.encode()))
    content = raw.getvalue()
    return DeploymentReply(uuid4(), "set", 1, "folder", hashlib.sha256(content).digest(), {}, archive=content)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(folder, "test")
    await executor.open()
    try:
        yield executor
    finally:
        await executor.close()


@pytest.mark.asyncio
async def test_two_deployments_may_start_at_the_same_time(tmp_path: Path) -> None:
    """They share an environment: made by both at once, the one would remove what the other is making."""
    async with opened(tmp_path) as executor:
        made = [deployment(TASK + f"# {number}\n") for number in range(3)]

        places = await asyncio.wait_for(
            asyncio.gather(*(executor.acquire(one, "t", TaskOptions(), one.deployment_id.hex) for one in made)), 120
        )

        assert all(place.host.is_alive for place in places)


@pytest.mark.asyncio
async def test_successor_of_a_dead_agent_leaves_nothing_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as executor:
        one = deployment()
        first = await executor.acquire(one, "t", TaskOptions(), "a1")
        os.kill(int(first.container.removeprefix("process ")), signal.SIGKILL)
        async with asyncio.timeout(20):
            while first.host.is_alive:
                await asyncio.sleep(0.01)
        before = psutil.Process().num_fds()

        second = await executor.acquire(one, "t", TaskOptions(), "a2")

        assert second.host is not first.host
        assert not first.host.socket_dir.exists()
        assert psutil.Process().num_fds() <= before + 3  # its socket, its connection, its output


@pytest.mark.asyncio
async def test_import_that_prints_a_very_long_line_does_not_hang(tmp_path: Path) -> None:
    async with opened(tmp_path) as executor:
        noisy = deployment("print('x' * 1_000_000)\n" + TASK)

        place = await asyncio.wait_for(executor.acquire(noisy, "t", TaskOptions(), "a1"), 45)

        assert place.host.is_alive


@pytest.mark.asyncio
async def test_folder_belongs_to_one_worker(tmp_path: Path) -> None:
    """The second would remove the sockets and folders of the first one's runs."""
    async with opened(tmp_path):
        with pytest.raises(ExecutorUnavailableError, match="TRIGGER_WORKER_DIR"):
            await ProcessExecutor(tmp_path, "test").open()

    async with opened(tmp_path):
        pass


@pytest.mark.asyncio
async def test_agents_are_shared_only_by_attempts_with_the_same_variables(tmp_path: Path) -> None:
    code = "import os, trigger_sdk\nassert os.environ['MODE'] in ('old', 'new'), 'missing'\n" + TASK
    async with opened(tmp_path) as executor:
        one = deployment(code)
        old, new = Variables("1", {"MODE": "old"}), Variables("2", {"MODE": "new"})

        first = await executor.acquire(one, "t", TaskOptions(), "a1", old)
        again = await executor.acquire(one, "t", TaskOptions(), "a2", old)
        changed = await executor.acquire(one, "t", TaskOptions(), "a3", new)

        assert again.host is first.host
        assert changed.host is not first.host
        pid = int(changed.container.removeprefix("process "))
        assert "MODE" not in psutil.Process(pid).environ()  # what /proc shows of it
        assert "new" not in " ".join(psutil.Process(pid).cmdline())


@pytest.mark.asyncio
async def test_missing_variable_is_the_reason_why_it_does_not_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as executor:
        needing = deployment("import os, trigger_sdk\nos.environ['STRIPE_KEY']\n" + TASK)

        with pytest.raises(StartFailedError, match="STRIPE_KEY"):
            await executor.acquire(needing, "t", TaskOptions(), "a1")


@pytest.mark.asyncio
async def test_process_that_waits_for_its_next_run_is_not_given_newer_variables(tmp_path: Path) -> None:
    options = TaskOptions(warm_start="same_process")
    one = deployment()

    keys = [pool_key(one, "t", options, Variables(version)) for version in ("1", "1", "2")]

    assert keys[0] == keys[1] != keys[2]
