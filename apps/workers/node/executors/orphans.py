"""What a dead agent leaves behind: its runs' processes come to the worker, which ends them. Nothing else is touched.

A process that has daemonised itself hangs from nobody that could be asked for it. So the worker is made the parent of
all orphans below it; then whatever hangs from the worker and was not started by it is such a process. On Linux only:
elsewhere there is nothing of the kind, and such a process outlives an agent that was killed.
"""

import asyncio
import logging
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from trigger_sdk.agent.system import processes

END_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Orphans:
    """Knows what the worker itself has started. Does nothing until `adopt`: not every process owns its children."""

    def __init__(self) -> None:
        self._is_adopting = False
        self._own: set[int] = set()
        self._gate = threading.Lock()
        """Held while a process is started, until it is known, and while unknown ones are ended."""

    def adopt(self) -> None:
        """From here on this process is the worker's program: whatever hangs from it unknown may be ended."""
        processes.adopt_orphans()
        self._own.update(processes.children())
        self._is_adopting = True

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[set[int]]:
        """Inside, a process may be started whose id is then added to the set; `forget` it when it has been reaped."""
        await asyncio.to_thread(self._gate.acquire)
        try:
            yield self._own
        finally:
            self._gate.release()

    def forget(self, pid: int) -> None:
        self._own.discard(pid)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run`, with the output captured; blocks."""
        with self._gate:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self._own.add(process.pid)
        out, err = process.communicate()
        self.forget(process.pid)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    async def end(self) -> None:
        """Kills and reaps what has come to the worker; returns when it is gone, or would not go."""
        if self._is_adopting:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with self._gate:
            strays = [pid for pid in processes.children() if pid not in self._own]
            remaining = processes.end_children_except(self._own, deadline=time.monotonic() + END_SECONDS)
        if strays:
            logger.warning("worker.end_orphans pids=%s remaining=%s", strays, remaining)
