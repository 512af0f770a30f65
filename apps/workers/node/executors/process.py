"""Runs tasks as child processes of this node: agent, socket and semantics as in a container, without isolation.

One agent per deployment loads the code once and forks a child per run. Memory is not limited, and the task can reach
files, network and other processes: for development, or for code that the node's owner trusts.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID

from apps.protocol import DeploymentReply, TaskOptions
from apps.workers.node.deployments import DeploymentError, unpack
from apps.workers.node.executors.base import RunPlace, StartFailedError, lock_folder, pool_key, socket_folder
from apps.workers.node.executors.environments import prepare_environment
from apps.workers.node.executors.orphans import Orphans
from apps.workers.node.executors.pool import WarmPool
from apps.workers.node.hosts.host import Host, HostError
from apps.workers.node.variables import NO_VARIABLES, Variables

READY_SECONDS = 60.0
IDLE_SECONDS = 300.0
"""An agent without runs is ended after this time; its deployment's next run starts it again."""
SUPERSEDED_SECONDS = 5.0
"""The same for one whose variables have changed; long enough for a run that is about to begin in it."""
STOP_SECONDS = 5.0
ERROR_LINES = 20
READ_BYTES = 16 * 1024

ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")

logger = logging.getLogger(__name__)


AgentKey = tuple[UUID, str]
"""Deployment and version of its variables."""


@dataclass(slots=True)
class Zygote:
    """An agent process with its host."""

    host: Host
    process: asyncio.subprocess.Process
    last_used_at: float
    is_ending: bool = False
    is_superseded: bool = False
    """Runs get another one, which has newer variables."""
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=ERROR_LINES))


class ProcessExecutor:
    """Implements `Executor` with one agent per deployment and version of its variables."""

    name = "process"

    def __init__(self, folder: Path, note: str) -> None:
        self.note = note
        self._folder = folder / "process"
        self._zygotes: dict[AgentKey, Zygote] = {}
        self._starting: dict[AgentKey, asyncio.Lock] = {}
        self._preparing = asyncio.Lock()
        """Deployments with the same requirements share an environment, which must not be created twice at once."""
        self._lock: int | None = None
        self._warm = WarmPool(self._retire)
        self._orphans = Orphans()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    def adopt_orphans(self) -> None:
        """Ends from here on what dead agents leave; only for the worker's own program."""
        self._orphans.adopt()

    async def open(self) -> None:
        """Raises ExecutorUnavailableError if another worker has the folder: its sockets would be removed."""
        self._lock = lock_folder(self._folder)
        shutil.rmtree(self._folder / "runs", ignore_errors=True)
        shutil.rmtree(self._folder / "s", ignore_errors=True)
        for name in ("deployments", "runs", "s", "venvs"):
            (self._folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sweeping = asyncio.create_task(self._end_idle(), name="end-idle-agents")
        self._warm.open()

    async def acquire(
        self,
        deployment: DeploymentReply,
        task: str,
        options: TaskOptions,
        attempt_name: str,
        variables: Variables = NO_VARIABLES,
    ) -> RunPlace:
        key = pool_key(deployment, task, options, variables)
        agent = (deployment.deployment_id, variables.version)
        if (waiting := self._warm.take(key)) is not None:
            waiting.folder = self._new_folder(attempt_name)
            self._zygotes[agent].last_used_at = asyncio.get_running_loop().time()
            return waiting
        lock = self._starting.setdefault(agent, asyncio.Lock())
        async with lock:
            zygote = self._zygotes.get(agent)
            is_warm = zygote is not None and zygote.host.is_alive
            if zygote is None or not is_warm:
                if zygote is not None:  # its agent died or hangs: process, socket and folder would remain
                    del self._zygotes[agent]
                    await self._end(zygote)
                zygote = await self._start(deployment, variables)
                self._zygotes[agent] = zygote
                self._supersede_others(agent)
        zygote.last_used_at = asyncio.get_running_loop().time()
        # A process of its own has the code loaded, but no state that an earlier run left in its modules.
        kind = "warm" if is_warm and key is None else "cold"
        folder = self._new_folder(attempt_name)
        return RunPlace(zygote.host, f"process {zygote.process.pid}", kind, folder, pool_key=key)

    async def release(self, place: RunPlace) -> None:
        folder, place.folder = place.folder, None
        if not self._warm.put(place):
            place.host.retire(place.ticket)
        if not place.host.is_alive:
            await self._end_dead(place.host)
        if folder is None:
            return
        try:
            os.rmdir(folder)  # most runs leave nothing behind, which needs no thread
        except OSError:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _new_folder(self, attempt_name: str) -> str:
        folder = f"{self._folder}/runs/{attempt_name}"
        os.mkdir(folder, mode=0o700)
        return folder

    async def _retire(self, place: RunPlace) -> None:
        place.host.retire(place.ticket)

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._warm.close()
        zygotes, self._zygotes = list(self._zygotes.values()), {}
        await asyncio.gather(*(self._end(zygote) for zygote in zygotes))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _supersede_others(self, agent: AgentKey) -> None:
        """Marks agents of the same deployment that have other variables; the sweep ends those without runs."""
        for key, zygote in self._zygotes.items():
            if key[0] == agent[0] and key != agent:
                zygote.is_superseded = True

    async def _start(self, deployment: DeploymentReply, variables: Variables) -> Zygote:
        try:
            async with self._preparing:
                tasks = await asyncio.to_thread(unpack, deployment, self._folder / "deployments")
                prepare = partial(
                    prepare_environment, self._folder / "venvs", tasks, lock=deployment.lock, orphans=self._orphans
                )
                python = await asyncio.to_thread(prepare)
        except (DeploymentError, OSError) as error:
            raise StartFailedError(str(error)) from error
        host = Host(
            socket_folder(self._folder / "s", secrets.token_hex(4)),
            isolation="process",
            variables=dict(variables.values),
        )
        try:
            await host.listen()
            async with self._orphans.starting() as own:
                process = await _start_agent(python, host.socket_dir, tasks)
                own.add(process.pid)
        except OSError as error:
            host.close()
            shutil.rmtree(host.socket_dir, ignore_errors=True)
            raise StartFailedError(f"The agent could not be started: {error}") from error
        host.name = f"{deployment.task_set} v{deployment.version} (process {process.pid})"
        zygote = Zygote(host, process, asyncio.get_running_loop().time())
        self._watch(zygote)
        try:
            await host.wait_ready(READY_SECONDS)
        except HostError as error:
            await self._end(zygote)
            raise StartFailedError("\n".join([str(error), *zygote.stderr])) from error
        except BaseException:
            await asyncio.shield(self._end(zygote))
            raise
        return zygote

    def _watch(self, zygote: Zygote) -> None:
        watching = asyncio.create_task(_read_output(zygote), name="agent-output")
        self._tasks.add(watching)
        watching.add_done_callback(self._tasks.discard)

    async def _end(self, zygote: Zygote) -> None:
        zygote.is_ending = True
        zygote.host.close()
        with contextlib.suppress(ProcessLookupError):
            zygote.process.terminate()
        try:
            await asyncio.wait_for(zygote.process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                zygote.process.kill()
            await zygote.process.wait()
        self._orphans.forget(zygote.process.pid)
        await self._orphans.end()
        shutil.rmtree(zygote.host.socket_dir, ignore_errors=True)

    async def _end_dead(self, host: Host) -> None:
        """Ends the runs of a dead agent: no process of theirs may be left when their end is reported."""
        for key, zygote in list(self._zygotes.items()):
            if zygote.host is host:
                del self._zygotes[key]
                await self._end(zygote)
                return
        await self._orphans.end()

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 10)
            now = asyncio.get_running_loop().time()
            for key, zygote in list(self._zygotes.items()):
                longest = SUPERSEDED_SECONDS if zygote.is_superseded else IDLE_SECONDS
                is_idle = zygote.host.run_count == 0 and now - zygote.last_used_at > longest
                if is_idle or not zygote.host.is_alive:
                    del self._zygotes[key]
                    if (starting := self._starting.get(key)) is not None and not starting.locked():
                        del self._starting[key]
                    await self._end(zygote)


async def _start_agent(python: Path, socket_dir: Path, tasks: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(python), "-I", "-m", "trigger_sdk.agent", "serve", "--socket-dir", str(socket_dir), "--tasks", str(tasks),
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        cwd=str(tasks),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


async def _read_output(zygote: Zygote) -> None:
    """Keeps the agent's last lines for the error if its start fails; an unread pipe would block it."""
    assert zygote.process.stdout is not None
    rest = b""
    while data := await zygote.process.stdout.read(READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        zygote.stderr.extend(line[:READ_BYTES].decode(errors="replace").rstrip() for line in lines)
        rest = rest[:READ_BYTES]  # an endless line must neither be kept nor stop the reading
    zygote.stderr.extend([rest.decode(errors="replace").rstrip()] if rest else [])
    code = await zygote.process.wait()
    if not zygote.is_ending:
        logger.error("worker.agent_died host=%s code=%s\n%s", zygote.host.name, code, "\n".join(zygote.stderr))
