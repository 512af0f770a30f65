"""Removes what must be gone when a run has ended: its processes and, in its own container, its files.

Under the process executor the agent shares the machine with everybody else, so it ends only its own descendants.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass

from trigger_sdk.agent.system import processes
from trigger_sdk.agent.system.surroundings import CONTAINER_WORK_FOLDER

END_SECONDS = 5.0
"""How long the agent waits for killed processes; one that hangs in the kernel must not delay the other runs."""

WIPED_FOLDERS = ("/tmp", "/dev/shm", CONTAINER_WORK_FOLDER)  # noqa: S108 - a container's own, emptied on purpose


@dataclass(frozen=True, slots=True)
class Ending:
    exit_code: int | None
    signal: int | None
    peak_memory_bytes: int


def has_ended(pid: int) -> bool:
    """True if the child is waiting to be reaped; it is left that way, so its process id stays its own."""
    if not hasattr(os, "waitid"):
        return False
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def reap(pid: int) -> Ending | None:
    """Kills the child's process group and reaps the child; None while it is still running."""
    if processes.IS_LINUX:
        if not has_ended(pid):
            return None
        processes.end_tree(pid)
    reaped, status, usage = os.wait4(pid, os.WNOHANG)
    if not reaped:
        return None
    code = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Ending(code if code >= 0 else None, -code if code < 0 else None, usage.ru_maxrss * unit)


def end_leftovers(kept: Collection[int], *, owns_container: bool) -> list[int]:
    """Ends processes that ended runs left behind; `kept` are the agent's other children. Returns what would not die."""
    if owns_container and not kept:
        end_everything_else()
    return processes.end_children_except(kept, deadline=time.monotonic() + END_SECONDS)


def end_everything_else() -> None:
    """Kills every other process of this container at once, so that none can escape by forking."""
    if os.getpid() != 1:
        raise RuntimeError("only process 1 of a container may end everything around it")
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        return  # there is no other


def wipe_folders(folders: Collection[str] = WIPED_FOLDERS) -> list[str]:
    """Empties the folders that a container's run may have written to; returns what could not be removed.

    Under a read-only root these are mounts; a folder that is not a mount belongs to something else and is left alone.
    """
    failed: list[str] = []
    for folder in folders:
        if os.path.ismount(folder):
            with os.scandir(folder) as entries:
                for entry in entries:
                    failed += _remove(entry)
    return failed


def _remove(entry: "os.DirEntry[str]") -> list[str]:
    if os.path.ismount(entry.path):
        return []
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.unlink(entry.path)
    return [entry.path] if os.path.lexists(entry.path) else []
