"""`python -m apps.workers.node`: the worker's program, started by `manage.py runworker` with only its own variables."""

import logging
import os
import sys
from collections.abc import Mapping

import uvloop

from apps.workers.node.config import Config, ConfigError, read_config
from apps.workers.node.coordinator import Coordinator, CoordinatorError
from apps.workers.node.executors.base import ExecutorUnavailableError
from apps.workers.node.executors.process import ProcessExecutor
from apps.workers.node.executors.select import select_executor
from apps.workers.node.hiding import TOKEN, TOKEN_DESCRIPTOR, hand_over, hide, take_over
from apps.workers.node.worker import Worker


def main() -> int:
    hide()
    logging.basicConfig(level=os.environ.get("TRIGGER_WORKER_LOG_LEVEL", "INFO"), format="%(levelname)s %(message)s")
    try:
        config = read_config(sys.argv[1:], _environment())
        return uvloop.run(work(config))
    except (ConfigError, ExecutorUnavailableError, CoordinatorError) as error:
        sys.stderr.write(f"runworker: {error}\n")
        return 1


def _environment() -> Mapping[str, str]:
    """Returns the variables with the token; a process started with it in its environment replaces itself first."""
    if TOKEN in os.environ:
        environment = hand_over(os.environ)
        if TOKEN_DESCRIPTOR in environment:
            arguments = [sys.executable, "-m", "apps.workers.node", *sys.argv[1:]]
            os.execve(sys.executable, arguments, environment)  # noqa: S606 - itself
    environment = take_over(os.environ)
    os.environ.pop(TOKEN_DESCRIPTOR, None)  # child processes have no such pipe
    return environment


async def work(config: Config) -> int:
    """Runs a worker until it has drained."""
    executor = await select_executor(config)
    if isinstance(executor, ProcessExecutor):
        executor.adopt_orphans()
    coordinator = Coordinator(config.coordinator_url, config.worker_token)
    await coordinator.open()
    try:
        await executor.open()
        await Worker(config, coordinator, executor).run()
    finally:
        await executor.close()
        await coordinator.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
