"""The container engine of a campaign: its tasks' containers and ledgers, and its death. Needs root on its machine.

A task in a container reaches no file of the machine, so it writes its ledger in its working folder, and a thread links
that file to a place outside as soon as it is there; the task goes on when it is linked.
"""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import docker
import psutil
from docker.errors import APIError, DockerException

from apps.workers.node.executors.docker.containers import LABEL_ATTEMPT, LABEL_FOLDER
from apps.workers.node.executors.docker.images import LABEL_TASK_SET
from tests.acceptance.docker_support import ADDRESS, missing_part
from tests.acceptance.installation import ROOT

SWEEP_SECONDS = 0.03
STOP_SECONDS = 10.0
OWN_PID_FILE = Path("/run/trigger-site-engine/pid")
"""Of the engine that `.ci/engine start` starts: the only one that a campaign can kill."""


class Engine:
    """Raises RuntimeError where no usable engine answers. Links are in `ledger`, a file for each attempt."""

    def __init__(self, task_set: str) -> None:
        if reason := missing_part():
            raise RuntimeError(reason)
        self._task_set = task_set
        self._client = docker.APIClient(ADDRESS, timeout=20)
        root = Path(self._client.info()["DockerRootDir"])
        self._volumes = root / "volumes"
        # A link stays within a mount, and the engine mounts its folder anew when it starts.
        self.ledger = Path(tempfile.mkdtemp(prefix="campaign-", dir=root))
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._link_forever, name="ledgers")
        self._thread.start()

    def containers(self, worker_folder: Path) -> dict[str, str]:
        """The running containers of that worker: by id the run's public id; none while the engine is away."""
        label = f"{LABEL_FOLDER}={(worker_folder / 'docker').resolve()}"
        try:
            found = self._client.containers(filters={"label": label})
        except (DockerException, OSError):
            return {}
        return {each["Id"]: each["Labels"][LABEL_ATTEMPT].rpartition("-")[0] for each in found
                if LABEL_ATTEMPT in each["Labels"]}  # fmt: skip

    def agent(self, container: str) -> psutil.Process | None:
        """The container's process 1, as this machine knows it."""
        with suppress(DockerException, OSError, psutil.NoSuchProcess):
            pid = self._client.inspect_container(container)["State"]["Pid"]
            return psutil.Process(pid) if pid else None
        return None

    def kill_container(self, container: str) -> bool:
        try:
            self._client.kill(container)
        except APIError:  # it has just ended
            return False
        return True

    def kill(self) -> None:
        """Kill -9 of the engine itself; returns when it is gone."""
        process = psutil.Process(int(OWN_PID_FILE.read_text()))
        process.kill()
        process.wait(STOP_SECONDS)

    def start(self) -> None:
        """As after a kill; returns when it answers."""
        subprocess.run([str(ROOT / ".ci" / "engine"), "start"], check=True, capture_output=True)

    def _unlinked(self, paths: Sequence[Path]) -> list[Path]:
        return [path for path in paths if not (self.ledger / path.name.removeprefix("ledger.")).exists()]

    def close(self, ledger: Path) -> None:
        """Ends the links, moves the ledgers to that folder and removes the images that were built for the campaign."""
        self._is_over.set()
        self._thread.join()
        shutil.move(self.ledger, ledger)
        with suppress(DockerException, OSError):
            built = self._client.images(filters={"label": f"{LABEL_TASK_SET}={self._task_set}"})
            for image in sorted(built, key=lambda image: -image["Created"]):
                self._client.remove_image(image["Id"], force=True)
        self._client.close()

    def _link_forever(self) -> None:
        while not self._is_over.wait(SWEEP_SECONDS):
            for path in self._unlinked(list(self._volumes.glob("*/_data/ledger.*"))):
                # A container may take its file along in between; then nothing was done in it.
                with suppress(FileNotFoundError, FileExistsError):
                    os.link(path, self.ledger / path.name.removeprefix("ledger."))
