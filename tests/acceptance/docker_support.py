"""What the tests of containers share: the engine, deployments of folders, and one attempt as a worker runs it."""

import asyncio
import json
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psutil
import pytest
from docker.errors import DockerException
from trigger_sdk.wire import Frame

from apps.protocol import Claim, DeploymentReply, Finish, TaskOptions
from apps.runs.tasks.archives import build_archive
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.config import Config
from apps.workers.node.executors.base import RunPlace
from apps.workers.node.executors.docker.containers import LABEL_FOLDER
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.executor import DockerExecutor
from apps.workers.node.executors.docker.images import LABEL_TASK_SET
from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.hosts.roles import ChildConnection
from apps.workers.node.variables import NO_VARIABLES, Variables
from tests.session import PREFIX as SESSION_PREFIX

BASE_IMAGE = os.environ.get("TRIGGER_BASE_IMAGE", "python:3.12-slim")
ADDRESS = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
TASKS = Path(__file__).parent / "container_tasks"
TASK_SET_START = "container tests "
TASK_SET = os.environ.setdefault("TRIGGER_TEST_TASK_SET", f"{TASK_SET_START}{os.getpid()}")
"""This session's own, also in the processes that it starts, so that its images can be told and removed."""
END_SECONDS = 60.0
MEMORY_BYTES = 256 * 1024 * 1024


def missing_part() -> str:
    """Why tests with containers cannot run here; empty if they can."""
    if ADDRESS.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as connection:  # the library leaks one where nobody listens
            if connection.connect_ex(ADDRESS.removeprefix("unix://")):
                return f"no container engine answers on {ADDRESS}"
    client = docker.APIClient(ADDRESS, timeout=10)
    try:
        client.inspect_image(BASE_IMAGE)
    except DockerException as error:
        return f"the base image {BASE_IMAGE} is not on the engine at {ADDRESS}: {error}"
    finally:
        client.close()
    return ""


def require_engine() -> None:
    reason = missing_part()
    if reason and "docker" in os.environ.get("TRIGGER_TEST_REQUIRE", "").split(","):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def make_config(folder: Path, **overrides: Any) -> Config:
    fields: dict[str, Any] = {
        "coordinator_url": "http://127.0.0.1:1",
        "worker_token": f"worker-token-{secrets.token_hex(16)}",
        "executor": "docker",
        "concurrency": 4,
        "name": "test-node",
        "folder": folder,
        "base_image": BASE_IMAGE,
        "drain_seconds": 1.0,
    }
    return Config(**{**fields, **overrides})


@asynccontextmanager
async def open_executor(config: Config) -> AsyncIterator[DockerExecutor]:
    executor = DockerExecutor(config, Engine(os.environ), "for a test")
    try:
        await executor.open()
        yield executor
    finally:
        await executor.close()


def deployment_of(folder: Path, **overrides: Any) -> DeploymentReply:
    from hashlib import sha256

    archive = build_archive(folder)
    fields: dict[str, Any] = {
        "deployment_id": uuid4(),
        "task_set": TASK_SET,
        "version": 1,
        "kind": "folder",
        "content_hash": sha256(archive).digest(),
        "tasks": {},
        "archive": archive,
    }
    return DeploymentReply(**{**fields, **overrides})


def write_folder(folder: Path, **files: str) -> Path:
    """A task folder; `Dockerfile="…"`, `tasks="…"` (a name without a dot is a module, but for Dockerfile)."""
    folder.mkdir()
    for name, text in files.items():
        (folder / (name if name == "Dockerfile" else f"{name}.py")).write_text(text)
    return folder


class ContainerRun:
    """One attempt in a container, with checkpoints that are answered when the test says so; a `RunListener`."""

    def __init__(self, executor: DockerExecutor, task: str, payload: dict[str, Any], *, is_gated: bool) -> None:
        self.attempt = Attempt(
            Claim(
                run_id=uuid4(), public_id="run_test", attempt=1, token=secrets.token_bytes(32), task=task,
                deployment_id=uuid4(), payload=json.dumps(payload).encode(), max_attempts=3,
            )
        )  # fmt: skip
        self.place: RunPlace | None = None
        self.lines: list[str] = []
        self._executor = executor
        self._is_gated = is_gated
        self._checkpoint: asyncio.Future[tuple[ChildConnection, Frame]] = asyncio.Future()
        self._end: asyncio.Future[ProcessEnd] = asyncio.Future()

    @property
    def container(self) -> str:
        return self.attempt.container

    async def start(
        self, deployment: DeploymentReply, memory_bytes: int, name: str = "", variables: Variables = NO_VARIABLES
    ) -> None:
        name = name or f"test-{secrets.token_hex(6)}-1"
        options = TaskOptions(memory_bytes=memory_bytes)
        self.place = await self._executor.acquire(deployment, self.attempt.claim.task, options, name, variables)
        self.attempt.options = options
        self.attempt.container = self.place.container
        self.place.host.run("run_test", self.place.folder, self)

    async def finish(self) -> Finish:
        end = await asyncio.wait_for(self._end, END_SECONDS)
        return self.attempt.finish(end)

    async def returned(self) -> Any:
        """The task's output; fails with the attempt's error where there is none."""
        finish = await self.finish()
        assert finish.outcome == "completed", (finish.outcome, finish.error, self.lines)
        assert finish.output is not None
        return json.loads(finish.output)

    async def at_checkpoint(self) -> dict[str, Any]:
        """Waits for the checkpoint that is held up; its data."""
        _, frame = await asyncio.wait_for(asyncio.shield(self._checkpoint), END_SECONDS)
        data: dict[str, Any] = json.loads(frame.body[: frame.header["data_bytes"]])
        return data

    async def go_on(self) -> None:
        _answer(*await self._checkpoint)

    async def release(self) -> None:
        if self.place is not None:
            await self._executor.release(self.place)

    def connected(self, child: ChildConnection) -> None:
        claim = self.attempt.claim
        child.send(
            "start", claim.payload, run_id="run_test", task=claim.task, attempt=1, max_attempts=3, scope="run_test"
        )
        child.send("go")

    def frame(self, child: ChildConnection, frame: Frame) -> None:
        if frame.type == "checkpoint":
            self._checkpoint.set_result((child, frame))
            if not self._is_gated:
                _answer(child, frame)
        elif frame.type == "completed":
            self.attempt.output = frame.body
        elif frame.type == "failed":
            self.attempt.failure = frame.header
        elif frame.type == "log":
            self.lines.append(frame.header["message"])

    def output(self, header: dict[str, Any]) -> None:
        self.lines.append(header["message"])

    def started(self, pid: int, kind: str) -> None:
        self.lines.append(f"started {kind} {pid}")

    def ended(self, end: ProcessEnd) -> None:
        if not self._end.done():
            self._end.set_result(end)


def _answer(child: ChildConnection, frame: Frame) -> None:
    child.send("saved", sequence=frame.header["sequence"], index=0)


@asynccontextmanager
async def running(
    executor: DockerExecutor,
    deployment: DeploymentReply,
    task: str,
    *,
    is_gated: bool = False,
    memory_bytes: int = MEMORY_BYTES,
    attempt_name: str = "",
    variables: Variables = NO_VARIABLES,
    **payload: Any,
) -> AsyncIterator[ContainerRun]:
    """An attempt of the task in a container of its own, which is gone when the block ends."""
    run = ContainerRun(executor, task, payload, is_gated=is_gated)
    try:
        await run.start(deployment, memory_bytes, attempt_name, variables)
        yield run
    finally:
        await run.release()


def left_on_engine(client: docker.APIClient, folder: Path) -> tuple[list[str], list[str]]:
    """Names of the containers and volumes that carry the label of this worker folder."""
    label = f"{LABEL_FOLDER}={(folder / 'docker').resolve()}"
    containers = [found["Names"][0] for found in client.containers(all=True, filters={"label": label})]
    volumes = [found["Name"] for found in client.volumes(filters={"label": label})["Volumes"] or []]
    return containers, volumes


def remove_images(client: docker.APIClient, task_set: str = TASK_SET) -> None:
    """Removes what this session has built, newest first: an image under another cannot go before it."""
    built = client.images(filters={"label": f"{LABEL_TASK_SET}={task_set}"})
    for image in sorted(built, key=lambda image: -image["Created"]):
        client.remove_image(image["Id"], force=True)


def remove_leftovers(client: docker.APIClient) -> None:
    """Removes what killed sessions have left on this machine's engine: their folders and processes are gone."""
    if not ADDRESS.startswith("unix://"):
        return
    for found in client.containers(all=True, filters={"label": LABEL_FOLDER}):
        folder = Path(found["Labels"][LABEL_FOLDER])
        if any(part.startswith(SESSION_PREFIX) for part in folder.parts) and not folder.exists():
            client.remove_container(found["Id"], force=True, v=True)
    task_sets = {image["Labels"][LABEL_TASK_SET] for image in client.images(filters={"label": LABEL_TASK_SET})}
    for task_set in task_sets:
        name, _, pid = task_set.rpartition(" ")
        if f"{name} " == TASK_SET_START and not psutil.pid_exists(int(pid)):
            remove_images(client, task_set)
