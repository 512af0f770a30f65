"""Gives two guarantees about one machine's processes: no child outlives its parent, and a folder has one owner.

`supervisor.py` decides what the children are and when they stop.
"""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1  # linux/prctl.h


class FolderInUseError(Exception):
    """Another live process owns the folder."""

    def __init__(self, path: Path, owner: str) -> None:
        self.owner = owner
        super().__init__(f"{path.parent} is in use by process {owner or '(unknown)'}.")


def die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Returns a `preexec_fn` that has the kernel send the child that signal when the thread that started it ends.

    Only Linux has this; elsewhere the result is None and a killed parent leaves its children behind.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return arm


def own_folder(path: Path) -> IO[str]:
    """Locks the file and writes our process id into it; raises `FolderInUseError` if a live process holds it.

    The lock lasts until the returned file is closed or the process ends, however it ends.
    """
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise FolderInUseError(path, owner) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
