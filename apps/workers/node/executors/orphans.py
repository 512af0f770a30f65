"""Ends what a dead agent leaves behind: its runs' processes, which the worker inherits. Touches nothing else.

A daemonised process has no other parent that could be asked about it. So the worker makes itself the parent of all
orphans below it; any child of the worker that it did not start is then such a process. Linux only: other systems have
nothing like it, and there such a process outlives a killed agent.
"""

import asyncio
import logging
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from trigger_sdk.agent.system import processes

END_SECONDS = 5.0

logger = logging.getLogger(__name__)


class Orphans:
    """Knows what the worker itself started. Does nothing until `adopt`: not every process owns its children."""

    def __init__(self) -> None:
        self._is_adopting = False
        self._own: set[int] = set()
        self._gate = threading.Lock()
        """Held from the start of a process until its id is known, and while unknown ones are ended."""

    def adopt(self) -> None:
        """Declares this process the worker's program: from here on, unknown children of it may be ended."""
        processes.adopt_orphans()
        self._own.update(processes.children())
        self._is_adopting = True

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[set[int]]:
        """Allows starting a process inside the block, whose id must be added to the set; `forget` it once reaped."""
        await asyncio.to_thread(self._gate.acquire)
        try:
            yield self._own
        finally:
            self._gate.release()

    def forget(self, pid: int) -> None:
        self._own.discard(pid)

    def run(
        self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Like `subprocess.run` with captured output; blocks."""
        with self._gate:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._own.add(process.pid)
        out, err = process.communicate()
        self.forget(process.pid)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    async def end(self) -> None:
        """Kills and reaps the orphans the worker inherited; returns when they are gone or will not go."""
        if self._is_adopting:
            await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with self._gate:
            strays = [pid for pid in processes.children() if pid not in self._own]
            remaining = processes.end_children_except(self._own, deadline=time.monotonic() + END_SECONDS)
        if strays:
            logger.warning("worker.end_orphans pids=%s remaining=%s", strays, remaining)
