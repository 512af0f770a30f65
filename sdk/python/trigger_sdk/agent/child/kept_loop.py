"""The event loop of a kept process: one for all its runs, because connections and locks belong to a loop.

Between two runs nothing of the run before is left in it but what its modules keep: connections, and callbacks that are
due later. Tasks are canceled and threads end, as at the end of `asyncio.run`.
"""

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class KeptLoop:
    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """The coroutine's result. If it raises, the loop is closed: the process takes no further run then."""
        loop = self._runner.get_loop()
        # asyncio cannot end the threads of its own executor and keep the loop.
        threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
        loop.set_default_executor(threads)
        try:
            # A context of its own: the runner would give all runs the same one.
            result = self._runner.run(coroutine, context=contextvars.copy_context())
            self._cancel_rest(loop)
        except BaseException:
            self._runner.close()
            raise
        threads.shutdown()
        return result

    def _cancel_rest(self, loop: asyncio.AbstractEventLoop) -> None:
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        for task in tasks:
            if not task.cancelled() and (error := task.exception()) is not None:
                message = "unhandled exception while the tasks of a run were canceled"
                loop.call_exception_handler({"message": message, "exception": error, "task": task})
