"""What every executor offers. Adding one is a module beside this one and a line in `select.py`."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from apps.protocol import DeploymentReply, TaskOptions
from apps.workers.node.hosts.host import Host


class StartFailedError(Exception):
    """No process could be started for an attempt; the text is the reason that the run's page shows."""


class ExecutorUnavailableError(Exception):
    """This node cannot run tasks in the way that was asked for; the text says why and what would mend it."""


PoolKey = tuple[UUID, str, int]
"""Deployment, task and memory limit: what runs must have in common to share a process."""


def pool_key(deployment: DeploymentReply, task: str, options: TaskOptions) -> PoolKey | None:
    """None for a task whose processes serve one run only."""
    is_kept = options.warm_start == "same_process"
    return (deployment.deployment_id, task, options.memory_bytes) if is_kept else None


@dataclass(slots=True, eq=False)
class RunPlace:
    """Where one attempt runs: a ready host, the run's folder as its process sees it, and the name that people see."""

    host: Host
    container: str
    start_kind: str
    """cold or warm."""
    folder: str | None = None
    pool_key: PoolKey | None = None
    """Set where the task wants its process kept for its next run."""
    is_warm: bool = False
    """The process that ran before in this place is to be taken; `ticket` names it to the host."""
    ticket: str = ""
    is_reusable: bool = False
    """The run has completed and its process waits: `release` may keep both for the next one."""


class Executor(Protocol):
    """Gives places to attempts and takes them back; every method may be called for many attempts at once."""

    name: str
    note: str
    """Why this executor runs the tasks, in a sentence for people."""

    async def open(self) -> None:
        """Makes the node ready and removes what an earlier worker of this node left behind."""

    async def acquire(
        self, deployment: DeploymentReply, task: str, options: TaskOptions, attempt_name: str
    ) -> RunPlace:
        """A place for one attempt; raises StartFailedError. `attempt_name` is unique per attempt."""

    async def release(self, place: RunPlace) -> None:
        """The attempt has ended: its files are removed when this returns, and its processes are gone or wait warm."""

    async def close(self) -> None:
        """Ends everything that this executor started."""


def socket_folder(root: Path, name: str) -> Path:
    """A new private directory for one host's socket."""
    folder = root / name
    folder.mkdir(mode=0o711, parents=True)
    return folder


def lock_folder(folder: Path) -> int:
    """Takes the folder for this process until it ends; raises ExecutorUnavailableError where another has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Where everybody may write, another user may have made it first, and what lies in it is run.
    is_public = folder.parent.parent.stat().st_mode & 0o002
    if is_public and {folder.parent.lstat().st_uid, folder.stat().st_uid} != {os.getuid()}:
        raise ExecutorUnavailableError(f"The folder {folder.parent} is another user's: set TRIGGER_WORKER_DIR.")
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ExecutorUnavailableError(
            f"Another worker uses the folder {folder.parent}: give each worker of a node its own TRIGGER_WORKER_DIR."
        ) from None
    return descriptor
