"""Reads a task folder for a deploy in child processes: user code never runs where the database's credentials are.

The children get their own environment and exactly the interpreter that a worker would prepare for the folder, so what
imports here imports there. They read the archive that will be deployed: the folder may change meanwhile.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.workers.node.deployments import extract
from apps.workers.node.installing import installer_environment

INSPECT_SECONDS = 60
PREPARE_SECONDS = 600
"""Installing a folder's requirements may download and build them."""

MANIFEST_MAX_BYTES = 32_000_000
STDERR_LINES_SHOWN = 20
TASK_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")

PREPARE = """
import fcntl, json, pathlib, sys
sys.path[:0] = sys.argv[3:]
from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.environments import prepare_environment
from apps.workers.node.executors.requirements import lock_requirements
venvs, tasks = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
with open(venvs / ".lock", "w") as gate:
    fcntl.flock(gate, fcntl.LOCK_EX)
    try:
        lock = lock_requirements(tasks, known_lock=sys.stdin.read())
        print(json.dumps({"python": str(prepare_environment(venvs, tasks, lock=lock)), "lock": lock}))
    except DeploymentError as error:
        sys.exit(str(error))
"""


class InspectionError(Exception):
    """The folder could not be read at all; the text ends with the child's output."""


def _no_variables(task_set: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Inspected:
    """The manifest `{name, tasks, errors, hints}` of a folder, and the lock of what it needs installed."""

    manifest: dict[str, Any]
    lock: str


def inspect_archive(
    archive: bytes, name: str, *, known_lock: str = "", variables_of: Callable[[str], Mapping[str, str]] = _no_variables
) -> Inspected:
    """Locks the archived folder's requirements, keeping those of `known_lock`, and reads its tasks in an environment
    that has them; `name` is the folder's own. `variables_of` tells what a task set's code finds when it is imported.

    Raises InspectionError if the child returns none, or one over 32 MB: it was killed, hung, or its requirements cannot
    be installed.
    """
    with tempfile.TemporaryDirectory(prefix="trigger-inspect-") as temporary:
        folder = Path(temporary) / name
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            folder.mkdir()
            extract(tar, folder)
        python, lock = _prepare(folder, known_lock)
        command = [python, "-I", "-m", "trigger_sdk.agent", "inspect", str(folder)]
        kept = {name: os.environ[name] for name in TASK_ENVIRONMENT if name in os.environ}
        environment = {**variables_of(_task_set_of(folder)), **kept, "HOME": temporary, "TMPDIR": temporary}
        code, output, errors = _run(command, environment, cwd=folder, seconds=INSPECT_SECONDS)
    try:
        manifest = json.loads(output)
    except (ValueError, RecursionError):
        manifest = None
    if not _is_manifest(manifest):
        raise InspectionError(_explain("The tasks could not be read", code, errors, INSPECT_SECONDS))
    return Inspected(dict(manifest), lock)


def _task_set_of(folder: Path) -> str:
    """The task set's name as its config has it, else the folder's. The inspection says what is wrong with a config."""
    try:
        config = tomllib.loads((folder / "trigger.toml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return folder.name
    name = config.get("name")
    return name if isinstance(name, str) and name.isprintable() else folder.name


def _is_manifest(value: Any) -> bool:
    """Whether it has the outer form; its tasks are checked when they are registered."""
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("name"), str)
        or not isinstance(value.get("tasks"), list)
    ):
        return False
    rows = [value.get("errors"), value.get("hints")]
    return all(isinstance(found, list) and all(map(_is_finding, found)) for found in rows)


def _is_finding(row: Any) -> bool:
    names = ("file", "line", "column", "severity", "code", "message")
    return isinstance(row, dict) and all(isinstance(row.get(name), (str, int)) for name in names)


def _prepare(folder: Path, known_lock: str) -> tuple[str, str]:
    """Returns an interpreter with the SDK and the folder's requirements, and the lock of these."""
    venvs = settings.VAR_DIR / "venvs"
    venvs.mkdir(parents=True, exist_ok=True)
    paths = [str(settings.BASE_DIR), str(settings.BASE_DIR / "sdk" / "python")]
    command = [sys.executable, "-I", "-c", PREPARE, str(venvs), str(folder), *paths]
    environment = installer_environment(os.environ)
    code, output, errors = _run(command, environment, cwd=folder, seconds=PREPARE_SECONDS, given=known_lock)
    if code != 0:
        raise InspectionError(_explain("The folder's environment could not be prepared", code, errors, PREPARE_SECONDS))
    prepared = json.loads(output)
    return prepared["python"], prepared["lock"]


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: Path, seconds: float, given: str = ""
) -> tuple[int | None, str, str]:
    """Returns exit code (None: it took too long and was killed), stdout, stderr; `given` is its standard input."""
    # Files, not pipes: a process left behind by the user's code would hold a pipe open for ever.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as input_:
        input_.write(given.encode())
        input_.seek(0)
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=input_,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        code: int | None
        try:
            code = child.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(child)
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read(MANIFEST_MAX_BYTES).decode(errors="replace"))
        return code, texts[0], texts[1]


def _end_session(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.wait()


def _explain(what: str, code: int | None, errors: str, seconds: float) -> str:
    if code is None:
        how = f"it took over {seconds:.0f} seconds"
    elif code < 0:
        how = f"the process was killed by {signal.Signals(-code).name}"
    else:
        how = f"the process ended with exit code {code}"
    said = "\n".join(errors.strip().splitlines()[-STDERR_LINES_SHOWN:])
    return f"{what}: {how}." + (f"\n{said}" if said else "")
