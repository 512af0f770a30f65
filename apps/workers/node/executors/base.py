"""The interface of every executor. To add one, write a module next to this one and add a line to `select.py`."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from apps.protocol import DeploymentReply, TaskOptions
from apps.workers.node.hosts.host import Host
from apps.workers.node.variables import NO_VARIABLES, Variables


class StartFailedError(Exception):
    """No process could be started for an attempt; the text is the reason shown on the run's page."""


class ExecutorUnavailableError(Exception):
    """This node cannot run tasks in the requested way; the text says why and how to fix it."""


PoolKey = tuple[UUID, str, int, str]
"""Deployment, task, memory limit and version of the variables: what runs must have in common to share a process."""


def pool_key(
    deployment: DeploymentReply, task: str, options: TaskOptions, variables: Variables = NO_VARIABLES
) -> PoolKey | None:
    """Returns None for a task whose processes serve only one run."""
    is_kept = options.warm_start == "same_process"
    return (deployment.deployment_id, task, options.memory_bytes, variables.version) if is_kept else None


@dataclass(slots=True, eq=False)
class RunPlace:
    """Where one attempt runs: a ready host, the run's folder as its process sees it, and the name shown to people."""

    host: Host
    container: str
    start_kind: str
    """cold or warm."""
    folder: str | None = None
    pool_key: PoolKey | None = None
    """Set if the task wants its process kept for its next run."""
    is_warm: bool = False
    """Reuse the process that ran in this place before; `ticket` identifies it to the host."""
    ticket: str = ""
    is_reusable: bool = False
    """The run has completed and its process waits: `release` may keep both for the next run."""


class Executor(Protocol):
    """Gives places to attempts and takes them back; every method may be called for many attempts at once."""

    name: str
    note: str
    """Why this executor was chosen, in a sentence for people."""

    async def open(self) -> None:
        """Prepares the node and removes what an earlier worker on it left behind."""

    async def acquire(
        self,
        deployment: DeploymentReply,
        task: str,
        options: TaskOptions,
        attempt_name: str,
        variables: Variables = NO_VARIABLES,
    ) -> RunPlace:
        """Returns a place for one attempt whose processes have these variables and no others; raises StartFailedError.
        `attempt_name` is unique per attempt."""

    async def release(self, place: RunPlace) -> None:
        """Takes back an ended attempt's place; on return its files are removed, its processes gone or kept warm."""

    async def close(self) -> None:
        """Ends everything this executor started."""


def socket_folder(root: Path, name: str) -> Path:
    """Creates a private directory for one host's socket."""
    folder = root / name
    folder.mkdir(mode=0o711, parents=True)
    return folder


def lock_folder(folder: Path) -> int:
    """Locks the folder for this process's lifetime; raises ExecutorUnavailableError if another has it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In a world-writable directory another user may have created it first, and what is in it gets executed.
    is_public = folder.parent.parent.stat().st_mode & 0o002
    if is_public and {folder.parent.lstat().st_uid, folder.stat().st_uid} != {os.getuid()}:
        raise ExecutorUnavailableError(f"The folder {folder.parent} belongs to another user: set TRIGGER_WORKER_DIR.")
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ExecutorUnavailableError(
            f"Another worker uses the folder {folder.parent}: give each worker on a node its own TRIGGER_WORKER_DIR."
        ) from None
    return descriptor
