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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.workers.node.deployments import extract

INSPECT_SECONDS = 60
PREPARE_SECONDS = 600
"""Installing a folder's requirements may download and build them."""

MANIFEST_MAX_BYTES = 32_000_000
STDERR_LINES_SHOWN = 20
TASK_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ")
INSTALLER_PREFIXES = ("UV_", "PIP_", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HOME")

PREPARE = """
import fcntl, pathlib, sys
sys.path[:0] = sys.argv[3:]
from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.environments import prepare_environment
with open(pathlib.Path(sys.argv[1], ".lock"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        print(prepare_environment(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
    except DeploymentError as error:
        sys.exit(str(error))
"""


class InspectionError(Exception):
    """The folder could not be read at all; the text ends with the child's output."""


def inspect_archive(archive: bytes, name: str) -> dict[str, Any]:
    """Returns the manifest `{name, tasks, errors, hints}` of the archived folder; `name` is the folder's own.

    Raises InspectionError if the child returns none, or one over 32 MB: it was killed, hung, or its requirements cannot
    be installed.
    """
    with tempfile.TemporaryDirectory(prefix="trigger-inspect-") as temporary:
        folder = Path(temporary) / name
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            folder.mkdir()
            extract(tar, folder)
        python = _prepare(folder)
        command = [python, "-I", "-m", "trigger_sdk.agent", "inspect", str(folder)]
        environment = _environment(TASK_ENVIRONMENT) | {"HOME": temporary, "TMPDIR": temporary}
        code, output, errors = _run(command, environment, cwd=folder, seconds=INSPECT_SECONDS)
    try:
        manifest = json.loads(output)
    except (ValueError, RecursionError):
        manifest = None
    if not _is_manifest(manifest):
        raise InspectionError(_explain("The tasks could not be read", code, errors, INSPECT_SECONDS))
    return dict(manifest)


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


def _prepare(folder: Path) -> str:
    """Returns an interpreter with the SDK and the folder's requirements."""
    venvs = settings.VAR_DIR / "venvs"
    venvs.mkdir(parents=True, exist_ok=True)
    paths = [str(settings.BASE_DIR), str(settings.BASE_DIR / "sdk" / "python")]
    command = [sys.executable, "-I", "-c", PREPARE, str(venvs), str(folder), *paths]
    environment = _environment(TASK_ENVIRONMENT, INSTALLER_PREFIXES)
    code, output, errors = _run(command, environment, cwd=folder, seconds=PREPARE_SECONDS)
    if code != 0:
        raise InspectionError(_explain("The folder's environment could not be prepared", code, errors, PREPARE_SECONDS))
    return output.strip()


def _environment(names: Sequence[str], prefixes: Sequence[str] = ()) -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in names or any(name.upper().startswith(prefix) for prefix in prefixes)
    }


def _run(
    command: Sequence[str], environment: Mapping[str, str], *, cwd: Path, seconds: float
) -> tuple[int | None, str, str]:
    """Returns exit code (None: it took too long and was killed), stdout, stderr."""
    # Files, not pipes: a process left behind by the user's code would hold a pipe open for ever.
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
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
