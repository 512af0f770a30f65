"""Tests with a real container whether the engine can run tasks here, instead of trusting what it says of itself.

Owns the test and the cache of its result; `select.py` owns what follows from it.
"""

import asyncio
import contextlib
import functools
import json
import logging
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trigger_sdk.wire import SOCKET_NAME

from apps.workers.node.config import Config
from apps.workers.node.executors.base import socket_folder
from apps.workers.node.executors.docker import containers
from apps.workers.node.executors.docker.answers import EngineError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.image_setup import PYTHON_MIN

MEMORY_BYTES = 64 * 1024 * 1024
ERROR_LINES = 5
POLL_SECONDS = 0.2
REMOVE_SECONDS = 3.0
EXIT_KILLED = 137

logger = logging.getLogger(__name__)

# First what is known at once, then whether a process that takes half as much memory again as allowed is killed.
SCRIPT = f"""\
import json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect("{containers.SOCKET_FOLDER}/{SOCKET_NAME}")
def say(**facts):
    connection.sendall(json.dumps(facts).encode() + b"\\n")
say(python=sys.version_info[:3])
pid = os.fork()
if pid == 0:
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")
    hoard = b"x" * {MEMORY_BYTES * 3 // 2}
    os._exit(0)
say(is_limited=os.WIFSIGNALED(os.waitpid(pid, 0)[1]))
"""


class ProbeError(Exception):
    """The engine is unfit; the text is the reason, worded as the end of a sentence."""


@dataclass(slots=True)
class Probe:
    """One trial of an engine; `stage` says what it is waiting for."""

    engine: Engine
    config: Config
    pull_seconds: float
    stage: str = "the connection"

    async def run(self) -> str:
        """Returns what was found, for people. Raises ProbeError or EngineError; may be slow: set a time limit."""
        await self.engine.connect()
        info = await self.engine.info()
        if info.get("OSType") != "linux":
            raise ProbeError(f"the engine at {self.engine.address} runs {info.get('OSType')} containers")
        if not info.get("MemoryLimit"):
            raise ProbeError(f"the engine at {self.engine.address} cannot limit memory")
        self.stage = f"the base image {self.config.base_image}"
        image = await self._base_image()
        self.stage = "a test container"
        facts = {
            "engine": info.get("ID"), "version": info.get("ServerVersion"), "kernel": info.get("KernelVersion"),
            "cgroup": info.get("CgroupVersion"), "security": info.get("SecurityOptions"), "image": image["Id"],
        }  # fmt: skip
        memory = self.config.folder / "docker" / "probe.json"
        await containers.prepare_network(self.engine)
        if _remembered(memory) != facts:
            await self._try_container()
            memory.write_text(json.dumps(facts))
        return f"engine {info.get('ServerVersion')} at {self.engine.address}"

    async def _base_image(self) -> dict[str, Any]:
        name = self.config.base_image
        found = await self.engine.image(name)
        if found is None:
            try:
                if not await self.engine.is_offered(name):
                    raise ProbeError(f"no registry has the base image {name}, and it is not on this node")
            except EngineError as error:
                raise ProbeError(
                    f"the base image {name} is not on this node, and no registry provides it: {error}"
                ) from error
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.engine.pull(name), self.pull_seconds)
            found = await self.engine.image(name)
        if found is None:
            raise ProbeError(f"the base image {name} is not here yet (docker pull {name} fetches it)")
        return found

    async def _try_container(self) -> None:
        name = f"trigger-probe-{secrets.token_hex(4)}"
        folder = socket_folder(self.config.folder / "docker", name[-4:] + ".p")
        said: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        server = await asyncio.start_unix_server(functools.partial(_listen, said), str(folder / SOCKET_NAME))
        (folder / SOCKET_NAME).chmod(0o666)
        try:
            await self.engine.start_new(name, containers.container_config(self._spec(folder)))
            await self._judge(name, said)
        finally:
            await self._remove(name)
            server.close()
            shutil.rmtree(folder, ignore_errors=True)

    async def _remove(self, name: str) -> None:
        """Must not hang the start if the engine hangs; leftovers are removed when a worker opens this folder."""
        try:
            await asyncio.wait_for(self.engine.remove(name), REMOVE_SECONDS)
        except (TimeoutError, EngineError) as error:
            logger.warning("workers.remove_container container=%s: %s", name, error or "no answer")

    def _spec(self, folder: Path) -> containers.ContainerSpec:
        return containers.ContainerSpec(
            image=self.config.base_image,
            command=["python3", "-I", "-c", SCRIPT],
            socket_dir=str(folder),
            memory_bytes=MEMORY_BYTES,
            labels={containers.LABEL_FOLDER: str((self.config.folder / "docker").resolve())},
        )

    async def _judge(self, name: str, said: "asyncio.Queue[dict[str, Any] | None]") -> None:
        first = await self._next(name, said)
        if first is None:
            lines = "; ".join(await self.engine.last_lines(name, ERROR_LINES)) or "it said nothing"
            raise ProbeError(
                f"a test container could not reach its socket (engine and worker must see {self.config.folder}"
                f" under the same path): {lines}"
            )
        if tuple(first["python"]) < PYTHON_MIN:
            found = ".".join(map(str, first["python"]))
            raise ProbeError(f"the base image's python3 is {found}; tasks need {'.'.join(map(str, PYTHON_MIN))}")
        second = await self._next(name, said)
        if second is None:
            state = ((await self.engine.inspect(name)) or {}).get("State", {})
            second = {"is_limited": state.get("ExitCode") == EXIT_KILLED}
        if not second["is_limited"]:
            raise ProbeError(f"the engine at {self.engine.address} does not enforce a container's memory limit")

    async def _next(self, name: str, said: "asyncio.Queue[dict[str, Any] | None]") -> dict[str, Any] | None:
        """Returns the container's next message; None if it ended or closed its connection first."""
        while True:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(said.get(), POLL_SECONDS)
            found = await self.engine.inspect(name)
            if (found is None or not found["State"]["Running"]) and said.empty():
                return None


async def _listen(
    said: "asyncio.Queue[dict[str, Any] | None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    while line := await reader.readline():
        said.put_nowait(json.loads(line))
    said.put_nowait(None)
    writer.close()


def _remembered(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):  # never tested, or cut short by a kill
        return None
    return found if isinstance(found, dict) else None
