"""Runs tasks in containers: one per attempt, started from the deployment's image and removed after the attempt.

A container whose task keeps its process (`warm_start="same_process"`) waits for that task's next run instead.

Owns the containers' life on this node. `containers.py` defines them, `images.py` what is in them; the host owns
what goes over their sockets.
"""

import asyncio
import logging
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from trigger_sdk.wire import SOCKET_NAME

from apps.protocol import DeploymentReply, TaskOptions
from apps.workers.node.config import Config
from apps.workers.node.executors.base import (
    ExecutorUnavailableError,
    RunPlace,
    StartFailedError,
    lock_folder,
    pool_key,
    socket_folder,
)
from apps.workers.node.executors.docker import containers
from apps.workers.node.executors.docker.answers import EngineError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.images import Images
from apps.workers.node.executors.pool import WarmPool
from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.hosts.host import Host, HostError
from apps.workers.node.variables import NO_VARIABLES, Variables

READY_SECONDS = 60.0
EXIT_SECONDS = 5.0
"""How long the engine may take to notice that a container has ended after its agent closed its socket."""
REAP_SECONDS = 10.0
ERROR_LINES = 20
EXIT_KILLED = 137
SOCKET_PATH_MAX_BYTES = 107
SOCKET_FOLDER_BYTES = 8
SHORT_ID = 12

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Container:
    """One of this worker's containers, from before its creation until after its removal."""

    name: str
    host: "ContainerHost"
    id: str = ""


class ContainerHost(Host):
    """The host of one container; asks the engine why the container ended before it reports that."""

    def __init__(self, socket_dir: Path, engine: Engine, variables: dict[str, str]) -> None:
        super().__init__(socket_dir, isolation="container", variables=variables)
        self._engine = engine
        self._asking: asyncio.Task[None] | None = None

    def lose_agent(self) -> None:
        self._control = None
        self._asking = asyncio.create_task(self._fail_with_verdict(), name="container-verdict")

    async def _fail_with_verdict(self) -> None:
        try:
            end = await verdict(self._engine, self.name)
        except EngineError as error:
            end = ProcessEnd(note=f"The container is gone, and the engine does not say why: {error}")
        if self._control is None:  # otherwise the agent is alive and has reconnected
            self.fail(end.note, end)


class DockerExecutor:
    """Implements `Executor` with one container per attempt."""

    name = "docker"

    def __init__(self, config: Config, engine: Engine, note: str) -> None:
        self.note = note
        self._engine = engine
        self._node = config.name
        self._folder = Path(os.path.realpath(config.folder / "docker"))
        self._images = Images(engine, config.base_image)
        self._worker = secrets.token_hex(8)
        self._containers: dict[str, Container] = {}
        self._lock: int | None = None
        self._warm = WarmPool(self._discard_place)
        self._reaping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises ExecutorUnavailableError if another worker has the folder or the engine does not cooperate."""
        self._lock = lock_folder(self._folder)
        await asyncio.to_thread(self._empty_sockets)
        try:
            await self._engine.connect()
            await containers.prepare_network(self._engine)
            await self._remove_strays()
            await self._engine.remove_volumes(self._own_label)
        except EngineError as error:
            raise ExecutorUnavailableError(f"The container engine cannot be used: {error}.") from error
        self._reaping = asyncio.create_task(self._reap_forever(), name="reap-containers")
        self._warm.open()

    async def acquire(
        self,
        deployment: DeploymentReply,
        task: str,
        options: TaskOptions,
        attempt_name: str,
        variables: Variables = NO_VARIABLES,
    ) -> RunPlace:
        """Returns a container in which the task's process waits, or a fresh one."""
        key = pool_key(deployment, task, options, variables)
        if (waiting := self._warm.take(key)) is not None:
            return waiting
        folder = socket_folder(self._sockets, secrets.token_hex(SOCKET_FOLDER_BYTES // 2))
        # Over the socket, because the engine would show what is in a container's environment.
        host = ContainerHost(folder, self._engine, dict(variables.values))
        host.name = attempt_name
        container = Container(attempt_name, host)
        self._containers[attempt_name] = container
        try:
            await self._start(container, deployment, task, options)
        except (EngineError, HostError) as error:
            reason = await self._start_failure(container, error)
            await self._discard(container)
            raise StartFailedError(reason) from error
        except BaseException:
            await asyncio.shield(self._discard(container))
            raise
        return RunPlace(host, container.id[:SHORT_ID], "cold", pool_key=key)

    async def release(self, place: RunPlace) -> None:
        if not self._warm.put(place):
            await self._discard_place(place)

    async def _discard_place(self, place: RunPlace) -> None:
        for container in list(self._containers.values()):
            if container.host is place.host:
                await self._discard(container)

    async def close(self) -> None:
        if self._reaping is not None:
            self._reaping.cancel()
        await self._warm.close()
        await asyncio.gather(*(self._discard(container) for container in list(self._containers.values())))
        self._engine.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def _sockets(self) -> Path:
        return self._folder / "s"

    @property
    def _own_label(self) -> str:
        return f"{containers.LABEL_FOLDER}={self._folder}"

    # Start

    async def _start(self, container: Container, deployment: DeploymentReply, task: str, options: TaskOptions) -> None:
        await container.host.listen()
        labels = self._labels(container, deployment, task)
        try:
            container.id = await self._create(container, deployment, options, labels)
        except EngineError as error:
            if error.status != 404:
                raise
            # The image was removed without our knowledge; on the second failure the engine's answer is final.
            self._images.forget(deployment)
            container.id = await self._create(container, deployment, options, labels)
        await container.host.wait_ready(READY_SECONDS)

    async def _create(
        self, container: Container, deployment: DeploymentReply, options: TaskOptions, labels: dict[str, str]
    ) -> str:
        image = await self._images.get(deployment)
        spec = containers.ContainerSpec(
            image=image.id,
            command=containers.agent_command(image.tasks),
            socket_dir=str(container.host.socket_dir),
            memory_bytes=options.memory_bytes,
            labels=labels,
        )
        return await self._engine.start_new(container.name, containers.container_config(spec))

    def _labels(self, container: Container, deployment: DeploymentReply, task: str) -> dict[str, str]:
        return {
            containers.LABEL_FOLDER: str(self._folder),
            containers.LABEL_NODE: self._node,
            containers.LABEL_WORKER: self._worker,
            containers.LABEL_TASK: task,
            containers.LABEL_DEPLOYMENT: str(deployment.deployment_id),
            containers.LABEL_ATTEMPT: container.name,
        }

    async def _start_failure(self, container: Container, error: Exception) -> str:
        """Returns the reason with the last output of the container's process 1, which had no other way to report it."""
        if not container.id:
            return f"The container could not be started: {error}"
        try:
            lines = await self._engine.last_lines(container.id, ERROR_LINES)
        except EngineError as no_lines:
            lines = [f"(its output could not be read: {no_lines})"]
        return "\n".join([str(error), *lines])

    # End

    async def _discard(self, container: Container) -> None:
        """Closes the socket; removes container, volumes and folder. What cannot be removed now is reaped later."""
        container.host.close()
        try:
            await self._engine.remove(container.name)
        except EngineError as error:
            logger.warning("workers.remove_container container=%s: %s", container.name, error)
        await asyncio.to_thread(shutil.rmtree, container.host.socket_dir, ignore_errors=True)
        self._containers.pop(container.name, None)

    async def _reap_forever(self) -> None:
        while True:
            await asyncio.sleep(REAP_SECONDS)
            try:
                await self._remove_strays()
            except EngineError as error:
                logger.warning("workers.reap_containers: %s", error)

    async def _remove_strays(self) -> None:
        """Removes this folder's containers that no attempt of this worker holds."""
        for found in await self._engine.containers(self._own_label):
            names = {name.removeprefix("/") for name in found["Names"] or ()}  # a half-removed container has none
            if names & self._containers.keys():
                continue
            logger.info("workers.remove_stray container=%s state=%s", found["Id"][:SHORT_ID], found["State"])
            try:
                await self._engine.remove(found["Id"])
            except EngineError as error:  # one that cannot be removed must not keep the others
                logger.warning("workers.remove_stray container=%s: %s", found["Id"][:SHORT_ID], error)

    def _empty_sockets(self) -> None:
        shutil.rmtree(self._sockets, ignore_errors=True)
        # Only the mount may lead to a socket's folder: the first connection to say hello is taken for the agent.
        self._sockets.mkdir(mode=0o700)
        longest = len(os.fsencode(self._sockets)) + SOCKET_FOLDER_BYTES + len(SOCKET_NAME) + 2
        if longest > SOCKET_PATH_MAX_BYTES:
            raise ExecutorUnavailableError(
                f"The path of the worker's folder {self._folder} is too long for a socket (by"
                f" {longest - SOCKET_PATH_MAX_BYTES} bytes): set TRIGGER_WORKER_DIR to a shorter one."
            )


async def verdict(engine: Engine, container: str) -> ProcessEnd:
    """Asks the engine why a container whose agent is gone has ended."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + EXIT_SECONDS
    while (found := await engine.inspect(container)) is not None and found["State"]["Running"]:
        if loop.time() >= give_up_at:
            return ProcessEnd(note="The container's agent closed its connection.")
        await asyncio.sleep(0.05)
    if found is None:
        return ProcessEnd(note="The container was removed while its task ran.")
    state = found["State"]
    code = int(state["ExitCode"])
    if code != EXIT_KILLED:
        reason = f": {state['Error']}" if state.get("Error") else ""
        return ProcessEnd(exit_code=code, note=f"The container ended with exit code {code}{reason}.")
    if state.get("OOMKilled"):
        return ProcessEnd(exit_code=code, is_out_of_memory=True, note="The container was killed at its memory limit.")
    # The engine misses some of these kills, so its silence proves nothing.
    return ProcessEnd(exit_code=code, note="The container was killed (exit code 137; suspected: out of memory).")
