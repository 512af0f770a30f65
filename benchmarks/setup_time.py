"""Measures how long a newcomer waits: clean clone, `make run`, first run completed. Package caches stay warm."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from trigger_sdk import Client

from benchmarks.measures import Row
from benchmarks.site import ROOT, free_port

START_SECONDS = 300.0
STOP_SECONDS = 60.0


def make_run() -> list[Row]:
    """Clones the committed state, starts `make run` twice and times both until the example has completed."""
    folder = Path(tempfile.mkdtemp(prefix="trigger-clone-"))
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
        first = _time_start(folder / "clone", folder / "first.log")
        second = _time_start(folder / "clone", folder / "second.log")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    around = f"load {os.getloadavg()[0]:.1f}"
    return [
        Row("make run in a clean clone → first run completed", first[1], "s", "≤ 90", around),
        Row("make run again → ready", second[0], "s", "≤ 5", around),
    ]


def _time_start(clone: Path, log_path: Path) -> tuple[float, float]:
    """Returns the seconds until the site is ready, and until a triggered example has completed."""
    hidden = ("TRIGGER_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    arguments = f"--port {free_port()} --no-browser"
    info_path = clone / "var" / "dev.json"
    began_at = time.monotonic()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            ["make", "run", f"ARGS={arguments}"],
            cwd=clone, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        while not info_path.exists():
            if process.poll() is not None or time.monotonic() - began_at > START_SECONDS:
                raise RuntimeError(f"make run did not start:\n{log_path.read_text()[-3000:]}")
            time.sleep(0.02)
        ready = time.monotonic() - began_at
        info = json.loads(info_path.read_text())
        with Client(info["url"], info["api_key"]) as client:
            run = client.trigger("process-order", {"order_id": "OK1"}).wait(60)
        if run.state != "completed":
            raise RuntimeError(f"the example is {run.state}")
        return ready, time.monotonic() - began_at
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
