"""Creates, starts and stops a Postgres cluster in a folder. For development and tests, not for production.

It listens on one unix socket in a 0700 folder and on no network; the kernel names the caller (peer), and only root and
the user that runs it are let in. `binaries.py` says which programs run it, and as whom.
"""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from trigger_site.development.binaries import (
    SHARED_DIR,
    Account,
    Binaries,
    PostgresError,
    account_for,
    find_binaries,
    reachable_binaries,
)
from trigger_site.development.local import DATABASE_NAME, DATABASE_ROLE, database_url
from trigger_site.development.processes import die_with_parent

START_SECONDS = 60.0  # recovery after a crash replays up to a gigabyte of log
STOP_SECONDS = 6.0
POLL_SECONDS = 0.02
# A new cluster takes 40 MB and its write-ahead log 16 MB more before the first row.
NEEDED_BYTES = 100 * 1024 * 1024

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgres:
    """One cluster. The caller ensures that no other process starts the same folder at the same time.

    `is_durable=False` is for throwaway clusters: they lose everything if the machine crashes.
    """

    def __init__(
        self, data_dir: Path, socket_dir: Path, *, binaries: Binaries | None = None, is_durable: bool = True
    ) -> None:
        self.data_dir = data_dir
        self.socket_dir = socket_dir
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self.binaries = binaries
        self._is_durable = is_durable

    @property
    def url(self) -> str:
        return database_url(self.socket_dir)

    def start(self) -> None:
        """Returns when the database accepts connections; creates it if there is none. Raises `PostgresError`."""
        if shutil.disk_usage(self.data_dir.parent).free < NEEDED_BYTES:
            raise PostgresError(f"The disk is full: the database in {self.data_dir} needs 100 MB of free space.")
        account = account_for(self.data_dir)
        binaries = reachable_binaries(self._choose_binaries(), account)
        self._prepare_socket_dir(account)
        if not (self.data_dir / "PG_VERSION").exists():
            self._create(binaries, account)
        real_dir = self.data_dir.resolve()
        if (real_dir / "postmaster.pid").exists():
            _stop_leftovers(real_dir)
        _write_access_rules(real_dir, account)
        self._launch(binaries, account, real_dir)

    def stop(self) -> None:
        """Ends all sessions and stops cleanly; a database that does not stop is killed as in a crash."""
        if self.process is None:
            return
        for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 3.0), (signal.SIGKILL, None)):
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                continue
        self.process = None

    def erase(self) -> None:
        """Deletes the cluster and everything in it."""
        real_dir = self.data_dir.resolve()
        if (real_dir / "postmaster.pid").exists():
            _stop_leftovers(real_dir)
        if real_dir.exists():
            shutil.rmtree(real_dir)
        if self.data_dir.is_symlink():
            self.data_dir.unlink()

    def _choose_binaries(self) -> Binaries:
        mark = self.data_dir / "PG_VERSION"
        if not mark.exists():
            return self.binaries or find_binaries()
        major = int(mark.read_text())
        if self.binaries is not None and self.binaries.major == major:
            return self.binaries
        try:
            return find_binaries(major)
        except PostgresError as error:
            raise PostgresError(
                f"The database in {self.data_dir} was written by PostgreSQL {major}. {error} To start with an empty "
                f"database instead: make run ARGS=--fresh"
            ) from None

    def _prepare_socket_dir(self, account: Account) -> None:
        """Accepts a folder that is ours or that we made as root; refuses anything else of that name."""
        with suppress(FileExistsError):
            self.socket_dir.mkdir(mode=0o700)
        found = self.socket_dir.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (account.uid, os.geteuid()):
            raise PostgresError(
                f"{self.socket_dir} is not a folder of the user {account.name}. Remove it and try again."
            )
        os.chown(self.socket_dir, account.uid, account.gid)
        self.socket_dir.chmod(0o700)

    def _create(self, binaries: Binaries, account: Account) -> None:
        """Builds the cluster next to its place and moves it there when complete, so a kill leaves no half-built one."""
        place = self._place(account)
        partial = place.with_name(f"{place.name}.new")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        os.chown(partial, account.uid, account.gid)
        arguments = ["-D", str(partial), "-U", DATABASE_ROLE, "-E", "UTF8", "--auth=peer", "--no-instructions"]
        arguments += _locale_arguments(binaries.major) + ([] if self._is_durable else ["--no-sync"])
        _run([binaries.path("initdb"), *arguments], account)
        _run(
            [binaries.path("postgres"), "--single", "-D", str(partial), "postgres"],
            account,
            stdin=f"CREATE DATABASE {DATABASE_NAME}\n",
        )
        partial.rename(place)
        if place != self.data_dir:
            self.data_dir.symlink_to(place)

    def _place(self, account: Account) -> Path:
        """Returns the cluster's real place: elsewhere, with a link, if the database's user cannot reach our folder."""
        if account.may_reach(self.data_dir.parent):
            return self.data_dir
        SHARED_DIR.mkdir(parents=True, exist_ok=True)
        SHARED_DIR.chmod(0o755)
        place = SHARED_DIR / f"data-{hashlib.sha256(str(self.data_dir.absolute()).encode()).hexdigest()[:12]}"
        if place.exists():  # left by a deleted var/ folder
            shutil.rmtree(place)
        return place

    def _launch(self, binaries: Binaries, account: Account, real_dir: Path) -> None:
        settings = (
            SETTINGS | {"unix_socket_directories": str(self.socket_dir)} | ({} if self._is_durable else NOT_DURABLE)
        )
        arguments = [binaries.path("postgres"), "-D", str(real_dir)]
        for name, value in settings.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log_path.open("ab") as log:
            start_of_log = log.tell()
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGINT),
                **account.popen_options(),  # type: ignore[call-overload]
            )
        try:
            self._wait_until_ready(real_dir, start_of_log)
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self, real_dir: Path, start_of_log: int) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(real_dir / "postmaster.pid", self.process.pid):
            if self.process.poll() is not None:
                raise PostgresError(_explain(self.log_path.read_bytes()[start_of_log:].decode(errors="replace")))
            if time.monotonic() > deadline:
                raise PostgresError(f"The database did not become ready in {START_SECONDS:.0f} s; see {self.log_path}.")
            time.sleep(POLL_SECONDS)


def _is_ready(pid_file: Path, pid: int) -> bool:
    """Reads what pg_ctl reads: line 1 is the process, line 8 its state."""
    try:
        lines = pid_file.read_text().split("\n")
    except FileNotFoundError:
        return False
    return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"


def _locale_arguments(major: int) -> list[str]:
    """Gives every machine the same order and case rules: code points, from Postgres itself if it can (17 and newer)."""
    if major >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return [f"--locale={'C' if sys.platform == 'darwin' else 'C.UTF-8'}"]


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _run(command: list[str], account: Account, stdin: str = "") -> None:
    answer = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        cwd="/",
        **account.popen_options(),  # type: ignore[call-overload]
    )
    if answer.returncode != 0:
        raise PostgresError(_explain(f"{answer.stdout}{answer.stderr}"))


def _explain(output: str) -> str:
    """Returns the part of Postgres's own words that a person needs when it does not start."""
    if "No space left on device" in output:
        return "The database cannot be started because the disk is full. Free some space and try again."
    last_lines = "\n".join(output.strip().splitlines()[-20:])
    return f"The database cannot be started. Postgres says:\n{last_lines}"


def _write_access_rules(data_dir: Path, account: Account) -> None:
    """Lets in only the database's own user, root and the user who starts it, each as the single database role."""
    starter = account_for(data_dir).name if os.geteuid() == account.uid else "root"
    names = sorted({account.name, starter, "root"})
    (data_dir / "pg_hba.conf").write_text("local all all peer map=owner\n")
    (data_dir / "pg_ident.conf").write_text("".join(f'owner "{name}" {DATABASE_ROLE}\n' for name in names))


def _stop_leftovers(data_dir: Path) -> None:
    """Ends what a killed parent left behind, and removes a pid file that names an unrelated process.

    Every process of a cluster works in its data folder, which identifies it. Postgres would refuse to start if the
    number in the pid file now belonged to another program of the same user.
    """
    leftovers = [
        process
        for process in psutil.process_iter(["name", "cwd", "ppid"])
        if str(process.info["name"]).startswith("postgres") and process.info["cwd"] == str(data_dir)
    ]
    pids = {process.pid for process in leftovers}
    for process in leftovers:
        if process.info["ppid"] not in pids:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(leftovers, timeout=STOP_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
    (data_dir / "postmaster.pid").unlink(missing_ok=True)
