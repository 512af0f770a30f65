"""Runs what `make run` consists of: the embedded database, its user and key, three processes, the example tasks.

`supervisor.py` watches and stops processes; `postgres.py` runs the database itself.
"""

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.access.errors import KeyRefused
from apps.access.keys import create_key, find_key
from apps.access.models import ApiKey
from apps.access.sign_in import sign_in_link
from apps.workers.models import Worker
from trigger_site.development.deployed import folders_to_deploy, remember_sdk
from trigger_site.development.dotenv import dotenv_folder
from trigger_site.development.local import (
    LocalStateError,
    check_layout,
    development_secret,
    socket_dir,
    worker_dir,
    write_private,
)
from trigger_site.development.postgres import EmbeddedPostgres
from trigger_site.development.processes import FolderInUseError, own_folder
from trigger_site.development.supervisor import Child, Supervisor

USERNAME = "admin"
HEALTHY_SECONDS = 60.0
WORKER_DRAIN_SECONDS = 2
MANAGE = [sys.executable, str(settings.BASE_DIR / "manage.py")]


class DevelopmentError(Exception):
    """The development installation cannot be started; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int
    is_fresh: bool
    executor: str
    concurrency: int | None
    has_examples: bool


@dataclass(frozen=True, slots=True)
class Credentials:
    password: str
    api_key: str


class Development:
    """One `make run`, from the lock on `var/` to the last process; `announce` is called when everything is healthy."""

    def __init__(self, options: Options, announce: Callable[["Development", Worker], None]) -> None:
        self.options = options
        self.var_dir: Path = settings.VAR_DIR
        self.supervisor = Supervisor()
        self.postgres: EmbeddedPostgres | None = None
        self.url = ""
        self.sign_in_link = ""
        self.coordinator_url = ""
        self.credentials = Credentials("", "")
        self._announce = announce
        self._info_path = self.var_dir / "dev.json"
        self._environment: dict[str, str] = {}

    def run(self) -> None:
        """Never returns: ends with the exception that says why it stopped."""
        check_layout(self.var_dir)
        with ExitStack() as stack:
            stack.enter_context(self._lock())
            self.supervisor.catch_signals()
            self._info_path.unlink(missing_ok=True)
            port = usable_port(self.options.host, self.options.port)
            self.url = f"http://{address_to_call(self.options.host)}:{port}"
            self._start_database(stack)
            started_at = self._prepare_database()
            stack.callback(self._info_path.unlink, missing_ok=True)
            stack.callback(self.supervisor.stop)
            self._start_processes(port)
            user = User.objects.get(username=USERNAME)
            self.sign_in_link = sign_in_link(user, self.url)  # loads the site's addresses while the others start
            worker = self._wait_until_healthy(started_at)
            self._write_info(worker)
            self._announce(self, worker)
            self.supervisor.run_until(self._never)

    def _lock(self) -> ExitStack:
        held = ExitStack()
        try:
            held.enter_context(own_folder(self.var_dir / "dev.lock"))
        except FolderInUseError as error:
            raise LocalStateError(
                f"make run is already running on {self.var_dir} (process {error.owner}). Stop it first, or start "
                f"this one with another folder: TRIGGER_VAR_DIR=…"
            ) from None
        return held

    def _start_database(self, stack: ExitStack) -> None:
        if os.environ.get("TRIGGER_DATABASE_URL"):
            if self.options.is_fresh:
                raise DevelopmentError("--fresh erases the embedded database; TRIGGER_DATABASE_URL names another one.")
            return
        self.postgres = EmbeddedPostgres(self.var_dir / "postgres", socket_dir(self.var_dir))
        if self.options.is_fresh:
            self.postgres.erase()
        self.postgres.start()
        stack.callback(self.postgres.stop)

    def _prepare_database(self) -> datetime:
        """Migrates if needed, ensures the user and the key; returns the database's time."""
        # The threads of a pool would make it unsafe to fork the children.
        connection.settings_dict["OPTIONS"].pop("pool", None)
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            call_command("migrate", interactive=False, verbosity=0)
        self.credentials = ensure_credentials(self.var_dir)
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            return cursor.fetchone()[0]  # type: ignore[no-any-return]

    def _start_processes(self, port: int) -> None:
        coordinator_port = usable_port("127.0.0.1", 0)
        self.coordinator_url = f"http://127.0.0.1:{coordinator_port}"
        environment = os.environ | {
            "TRIGGER_VAR_DIR": str(self.var_dir),
            "TRIGGER_COORDINATOR_URL": self.coordinator_url,
            "TRIGGER_EXECUTOR": self.options.executor,
            "PYTHONUNBUFFERED": "1",
        }
        host = self.options.host
        self.supervisor.start("web", [*MANAGE, "runweb", "--host", host, "--port", str(port)], environment)
        self.supervisor.start("coordinator", [*MANAGE, "runcoordinator", "--port", str(coordinator_port)], environment)
        self._environment = environment
        for folder in folders_to_deploy(self.var_dir) if self.options.has_examples else ():
            command = [*MANAGE, "deploy", str(folder)]
            self.supervisor.start(f"deploy {folder.name}", command, environment, is_one_shot=True)

    def _start_worker(self) -> None:
        """Starts the worker once the coordinator answers: an earlier one would complain that it is missing."""
        self.supervisor.start(
            "worker",
            [*MANAGE, "runworker"],
            self._worker_environment(self._environment),
            seconds_to_stop=WORKER_DRAIN_SECONDS + 2,
        )

    def _worker_environment(self, environment: dict[str, str]) -> dict[str, str]:
        """Gives the worker the token, and nothing with which it could reach the database."""
        kept = {k: v for k, v in environment.items() if k not in ("TRIGGER_DATABASE_URL", "TRIGGER_SECRET_KEY")}
        kept["TRIGGER_WORKER_TOKEN"] = settings.TRIGGER_WORKER_TOKEN
        kept["TRIGGER_WORKER_DIR"] = str(worker_dir(self.var_dir))
        kept["TRIGGER_WORKER_DOTENV_DIR"] = str(dotenv_folder(self.var_dir))
        kept.setdefault("TRIGGER_DRAIN_SECONDS", str(WORKER_DRAIN_SECONDS))
        if self.options.concurrency is not None:
            kept["TRIGGER_CONCURRENCY"] = str(self.options.concurrency)
        return kept

    def _wait_until_healthy(self, started_at: datetime) -> Worker:
        waiting = ["web", "coordinator", "worker", *(c.name for c in self.supervisor.children if c.is_one_shot)]

        def is_healthy(name: str) -> bool:
            if name == "web":
                return answers(f"{self.url}/ready")
            if name == "coordinator":
                return answers(f"{self.coordinator_url}/ready")
            if name == "worker":
                return Worker.objects.filter(started_at__gte=started_at).exists()
            return not self._child(name).is_running

        def is_all_healthy() -> bool:
            self._check_database()
            healthy = [name for name in waiting if is_healthy(name)]
            waiting[:] = [name for name in waiting if name not in healthy]
            if "coordinator" in healthy:
                self._start_worker()
            return not waiting

        if not self.supervisor.run_until(is_all_healthy, seconds=HEALTHY_SECONDS):
            raise DevelopmentError(
                f"Not healthy after {HEALTHY_SECONDS:.0f} s: {', '.join(waiting)}. See the lines above."
            )
        if self.options.has_examples:
            remember_sdk(self.var_dir)
        worker = Worker.objects.filter(started_at__gte=started_at).latest("started_at")
        connection.close()
        return worker

    def failed_deployments(self) -> list[str]:
        return [c.name for c in self.supervisor.children if c.is_one_shot and c.process.returncode != 0]

    def _check_database(self) -> None:
        if self.postgres is not None and self.postgres.process is not None and self.postgres.process.poll() is not None:
            raise DevelopmentError(f"The database ended by itself; its last messages are in {self.postgres.log_path}.")

    def _never(self) -> bool:
        self._check_database()
        return False

    def _child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def _write_info(self, worker: Worker) -> None:
        pids = {child.name: child.process.pid for child in self.supervisor.children if not child.is_one_shot}
        if self.postgres is not None and self.postgres.process is not None:
            pids["postgres"] = self.postgres.process.pid
        info = {
            "url": self.url,
            "api_key": self.credentials.api_key,
            "username": USERNAME,
            "password": self.credentials.password,
            "database_url": settings.DATABASE_URL,
            "coordinator_url": self.coordinator_url,
            "worker_token": settings.TRIGGER_WORKER_TOKEN,
            "executor": worker.executor,
            "executor_note": worker.executor_note,
            "pids": {"supervisor": os.getpid(), **pids},
        }
        write_private(self._info_path, json.dumps(info, indent=2) + "\n")


def ensure_credentials(var_dir: Path) -> Credentials:
    """Returns a user and a key, their secrets kept under `var/`; creates them if this database does not know them."""
    password = development_secret(var_dir, "admin_password")[:16]
    user = User.objects.filter(username=USERNAME).first()
    if user is None:
        user = User.objects.create_superuser(USERNAME, password=password)
    key_path = var_dir / "secrets" / "api_key"
    text = key_path.read_text() if key_path.exists() else ""
    try:
        find_key(text)
    except KeyRefused:
        _, text = create_key(name="development", role=ApiKey.Role.ADMIN, user=user)
        write_private(key_path, text)
    return Credentials(password, text)


def usable_port(host: str, port: int) -> int:
    """Returns the port, or a free one for 0; raises `DevelopmentError` naming the process that has it."""
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise DevelopmentError(
                f"Cannot listen on {host}:{port}: {error.strerror}{holder_of(port)}. "
                f'Choose another port: make run ARGS="--port {port + 1}"'
            ) from None
        return int(probe.getsockname()[1])


def address_to_call(host: str) -> str:
    """Returns the host by which this machine reaches a server that listens there."""
    if host in ("", "0.0.0.0"):  # noqa: S104 - compared, not listened on
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def holder_of(port: int) -> str:
    """Names the process that listens on a port, as far as we may see it."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid:
                return f" (held by {psutil.Process(found.pid).name()}, process {found.pid})"
    except psutil.Error:
        return ""
    return ""


def answers(url: str) -> bool:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=2)) as client:
        try:
            client.request("GET", parts.path)
            return client.getresponse().status == http.client.OK
        except OSError:
            return False


def seconds_since_start() -> float:
    return time.time() - psutil.Process().create_time()
