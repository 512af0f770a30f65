"""A worker's part that a test kills: starts one container, prints its id and holds it.

Run as `python -m tests.acceptance.docker_worker FOLDER`.
"""

import asyncio
import sys
from pathlib import Path

from tests.acceptance.docker_support import TASKS, deployment_of, make_config, open_executor, running


async def hold_a_container(folder: Path) -> None:
    async with (
        open_executor(make_config(folder)) as executor,
        running(executor, deployment_of(TASKS), "greet", is_gated=True, name="Ada") as run,
    ):
        await run.at_checkpoint()
        print(run.container, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(hold_a_container(Path(sys.argv[1])))
