"""The folder of one test session: all that the session and the processes that it starts leave in the file system.

It goes when the session ends or, where tests failed, when the next one begins. The next one also removes the folder of
a session that was killed, which it can tell by the lock.
"""

import fcntl
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ
PREFIX = "tt-"
"""Short, because sockets lie below, and a socket's path has at most 103 bytes (macOS)."""

VARIABLE = "TRIGGER_TEST_SESSION_DIR"


@functools.cache
def session_dir() -> Path:
    """Made by the first call, and temporary files go there from then on; parallel processes share one folder."""
    if IS_XDIST_WORKER:
        return _use(Path(os.environ[VARIABLE]))
    root = Path(tempfile.gettempdir())
    with _locked(root / f"{PREFIX}{os.geteuid()}.lock"):
        sweep(root)
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        # Open while the process lives, however it ends.
        _held.append(_lock(folder / "lock"))
    folder.chmod(0o711)  # the database runs as another user when we are root
    (folder / "t").mkdir()
    (folder / "t").chmod(0o1777)
    os.environ[VARIABLE] = str(folder)
    return _use(folder)


_held: list[IO[str]] = []


def _use(folder: Path) -> Path:
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder / "t")
    return folder


def leave_session_dir(folder: Path, *, is_kept: bool) -> None:
    """`is_kept` leaves what failed tests wrote to the next session, which removes it."""
    if IS_XDIST_WORKER:
        return
    for path in folder.iterdir():
        if not is_kept or path.name.startswith("postgres"):
            shutil.rmtree(path, ignore_errors=True)
    if not is_kept:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(root: Path) -> None:
    """Removes what killed sessions of this user left behind: processes that work for them, then their folders."""
    for folder in root.glob(f"{PREFIX}*/"):
        if folder.stat().st_uid != os.geteuid() or not (folder / "lock").exists():
            continue
        with suppress(BlockingIOError), _lock(folder / "lock"):
            _end_processes_of(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _end_processes_of(folder: Path) -> None:
    temporary = str(folder / "t")
    found = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TMPDIR") == temporary and process.pid != os.getpid()
    ]
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(found, timeout=10)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(path: Path) -> IO[str]:
    """The open file, whose lock ends with it; raises BlockingIOError where another process holds it."""
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file
