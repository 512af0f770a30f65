"""Keeps a development installation's secrets under `var/`, and says where its own database listens.

Imported by the settings, so it knows nothing of Django; `postgres.py` starts the database.
"""

import fcntl
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

DATABASE_NAME = "trigger"
DATABASE_ROLE = "trigger"

# Increases when files under var/ change their meaning; `manage.py dev` refuses a folder with another number.
LAYOUT_VERSION = 1


class LocalStateError(Exception):
    """The `var/` folder cannot be used; the text says why and what to do."""


def prepare_var(var_dir: Path) -> None:
    """Creates the folder if it is missing. Others may pass through it but not list it: the database can run as
    another user, and what is secret inside has its own mode."""
    if var_dir.is_dir():
        return
    var_dir.mkdir(parents=True, exist_ok=True)
    var_dir.chmod(0o711)


def check_layout(var_dir: Path) -> None:
    """Raises `LocalStateError` if another version of this project wrote the folder; marks a fresh one."""
    prepare_var(var_dir)
    mark = var_dir / "layout-version"
    if not mark.exists():
        write_once(mark, f"{LAYOUT_VERSION}\n")
    found = mark.read_text().strip()
    if found != str(LAYOUT_VERSION):
        raise LocalStateError(
            f"{var_dir} was written by another version of this project (layout {found}, this one needs "
            f"{LAYOUT_VERSION}). Use that version, or move the folder away to start with an empty one."
        )


def development_secret(var_dir: Path, name: str) -> str:
    """Returns the secret of that name: created by the first process that asks, the same for all later ones."""
    path = var_dir / "secrets" / name
    with suppress(FileNotFoundError):
        return path.read_text()
    prepare_var(var_dir)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_once(path, secrets.token_urlsafe(48))
    return path.read_text()


def write_once(path: Path, text: str) -> None:
    """Writes a private file unless it exists: of several processes that start at once exactly one wins."""
    with (path.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            write_private(path, text)


def write_private(path: Path, text: str) -> None:
    """Replaces a file of mode 0600 atomically: a reader sees all of the old text or all of the new."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def socket_dir(var_dir: Path) -> Path:
    """Returns where the embedded database of this `var/` listens.

    Outside the folder, because a socket's path may have at most 103 bytes (macOS); its name is random, so that nobody
    can create a folder of that name there beforehand.
    """
    lot = development_secret(var_dir, "socket_name")
    name = "".join(character for character in lot.lower() if character.isalnum())[:20]
    return Path("/tmp") / f"trigger-{name}"  # noqa: S108 - 0700, owned and checked by postgres.py


def worker_dir(var_dir: Path) -> Path:
    """Returns where the worker of this `var/` keeps its sockets; short for the same reason."""
    socket = socket_dir(var_dir)
    return socket.with_name(f"{socket.name}-worker")


def development_database_url(var_dir: Path) -> str:
    """Returns the address of the embedded database, running or not."""
    return database_url(socket_dir(var_dir.absolute()))


def database_url(socket: Path, name: str = DATABASE_NAME) -> str:
    return f"postgres://{DATABASE_ROLE}@{quote(str(socket), safe='')}/{name}"
