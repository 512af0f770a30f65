"""Plays the worker for one real agent, for measurements without a real worker in between."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from trigger_sdk.wire import SOCKET_NAME, FrameSocket

from benchmarks.site import ROOT

START_SECONDS = 30.0


class AgentPeer:
    """An agent that has loaded a folder of tasks; each run is served to its end before the next begins."""

    def __init__(self, tasks: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="trigger-peer-"))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.settimeout(START_SECONDS)
        self._listener.bind(str(self._folder / SOCKET_NAME))
        self._listener.listen()
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "sdk" / "python")}
        serve = ["serve", "--socket-dir", str(self._folder), "--tasks", str(tasks)]
        self._agent = subprocess.Popen([sys.executable, "-m", "trigger_sdk.agent", *serve], env=environment)

    def __enter__(self) -> "AgentPeer":
        self._control = self._accept()
        self._control.receive()
        self._control.send("welcome", secret=secrets.token_hex(32), isolation="process", variables={})
        self._until(self._control, "ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._control.close()
        self._listener.close()
        self._agent.terminate()
        self._agent.wait(START_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def resume_seconds(self, task: str, stored: Sequence[tuple[str, bytes, list[str]]]) -> float:
        """Times from the order to run until the task's first line arrives; `stored` are (key, data, binds) by index."""
        ticket = secrets.token_hex(32)
        began_at = time.perf_counter()
        self._control.send("run", ticket=ticket, run_id="run_benchmark", folder=str(self._folder))
        child = self._accept()
        child.receive()
        child.send("start", b"{}", run_id="run_benchmark", task=task, attempt=2, max_attempts=3, scope="run_benchmark")
        for index, (key, data, binds) in enumerate(stored):
            child.send(
                "stored", data, key=key, kind="checkpoint", index=index, codec=1, binds=binds, data_bytes=len(data)
            )
        child.send("go")
        self._until(child, "log")
        seconds = time.perf_counter() - began_at
        self._until(child, "completed")
        child.close()
        self._until(self._control, "exited")
        return seconds

    def _accept(self) -> FrameSocket:
        connection, _ = self._listener.accept()
        connection.settimeout(START_SECONDS)
        return FrameSocket(connection)

    @staticmethod
    def _until(peer: FrameSocket, type: str) -> None:  # noqa: A002 - the frame's own field
        while (frame := peer.receive()) is not None:
            if frame.type == type:
                return
            if frame.type in ("failed", "load_failed"):
                raise RuntimeError(f"the agent reports {frame.type}: {frame.header['error']}")
        raise RuntimeError(f"the agent closed its connection before {type!r}")
