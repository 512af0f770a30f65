"""`python -m apps.workers.node`: the worker's program, started by `manage.py runworker` with its own variables only."""

import logging
import os
import sys

import uvloop

from .config import Config, ConfigError, read_config
from .coordinator import Coordinator, CoordinatorError
from .executors.base import ExecutorUnavailableError
from .executors.select import select_executor
from .worker import Worker


def main() -> int:
    logging.basicConfig(level=os.environ.get("TRIGGER_WORKER_LOG_LEVEL", "INFO"), format="%(levelname)s %(message)s")
    try:
        config = read_config(sys.argv[1:], os.environ)
        return uvloop.run(work(config))
    except (ConfigError, ExecutorUnavailableError, CoordinatorError) as error:
        sys.stderr.write(f"runworker: {error}\n")
        return 1


async def work(config: Config) -> int:
    """Runs a worker until it has drained."""
    # The token is in memory now; what this process starts must not inherit it.
    os.environ.pop("TRIGGER_WORKER_TOKEN", None)
    executor = await select_executor(config)
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
