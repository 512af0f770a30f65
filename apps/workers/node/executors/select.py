"""Selects this node's executor: the requested one, or containers if a trial shows that they work."""

import asyncio
import os

from apps.workers.node.config import Config
from apps.workers.node.executors.base import Executor, ExecutorUnavailableError
from apps.workers.node.executors.docker.answers import EngineError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.executor import DockerExecutor
from apps.workers.node.executors.docker.probe import Probe, ProbeError
from apps.workers.node.executors.process import ProcessExecutor

PROBE_SECONDS = 10.0
PULL_SECONDS = 300.0
"""For a node that must use containers whatever it takes."""


async def select_executor(config: Config) -> Executor:
    """Returns the unopened executor; raises ExecutorUnavailableError if `docker` was requested but is unavailable."""
    if config.executor == "process":
        return ProcessExecutor(config.folder, "Tasks run as child processes, without isolation, as requested.")
    engine = Engine(os.environ)
    is_required = config.executor == "docker"
    try:
        found = await try_engine(engine, config, pull_seconds=PULL_SECONDS if is_required else PROBE_SECONDS)
    except ProbeError as error:
        engine.close()
        if is_required:
            raise ExecutorUnavailableError(f"TRIGGER_EXECUTOR is docker, but {error}.") from error
        return ProcessExecutor(config.folder, f"Tasks run as child processes, without isolation: {error}.")
    return DockerExecutor(config, engine, f"Tasks run in containers ({found}).")


async def try_engine(engine: Engine, config: Config, *, pull_seconds: float) -> str:
    """Returns the facts about a usable engine; raises ProbeError with the reason within `pull_seconds` + 10 s."""
    probe = Probe(engine, config, pull_seconds)
    limit = PROBE_SECONDS if pull_seconds <= PROBE_SECONDS else PROBE_SECONDS + pull_seconds
    (config.folder / "docker").mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        async with asyncio.timeout(limit):
            return await probe.run()
    except TimeoutError:
        raise ProbeError(
            f"the engine at {engine.address} did not pass its trial within {limit:g} s (it waited for {probe.stage})"
        ) from None
    except EngineError as error:
        raise ProbeError(str(error)) from error
