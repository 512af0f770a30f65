"""What a task folder asks to be installed, and the lock of it: every package with one version and its hashes.

The folder is locked once, by its deploy; workers install the lock. It contains no address of an index, because each
worker reaches packages by its own settings; only direct references that the user wrote keep their addresses.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.orphans import Orphans
from apps.workers.node.installing import installer_environment

REQUIREMENTS = "requirements.txt"
PROJECT = "pyproject.toml"
REASON_MAX_CHARACTERS = 2_000
INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--no-index", "--trusted-host")


def requirements_of(folder: Path) -> tuple[str, str]:
    """The requirements in pip's format and the name of the file that lists them; empty texts if there is none.

    A `requirements.txt` wins over `pyproject.toml`, of which it is often the product. Raises DeploymentError.
    """
    listed = folder / REQUIREMENTS
    if listed.is_file():
        try:
            return listed.read_text(encoding="utf-8-sig"), REQUIREMENTS
        except UnicodeDecodeError as error:
            raise DeploymentError(f"{REQUIREMENTS} is not UTF-8: {error}") from error
    project = folder / PROJECT
    return (_project_requirements(project), PROJECT) if project.is_file() else ("", "")


def index_options(text: str) -> list[str]:
    """The lines of a requirements file that say where packages are, as the user wrote them; they are in no lock."""
    return [line for line in map(str.strip, text.splitlines()) if line.replace("=", " ").split(" ")[0] in INDEX_OPTIONS]


def has_local_package(text: str) -> bool:
    """Whether requirements name something inside the folder: a package, whose content they do not pin, or an index."""
    lines = [line.strip() for line in text.splitlines()]
    is_package = any(line.startswith((".", "-e", "--editable", "file:", "/")) for line in lines)
    return is_package or any("://" not in line.split("#")[0] for line in index_options(text) if "no-index" not in line)


def lock_for_pip(lock: str) -> str:
    """The lock as pip takes it: where one package can have no hash (from a folder or a repository), it wants none."""
    entries = [entry.strip() for entry in lock.replace("\\\n", " ").splitlines() if entry.strip()]
    if all("--hash=" in entry for entry in entries):
        return lock
    return "\n".join(" ".join(word for word in entry.split() if not word.startswith("--hash=")) for entry in entries)


def lock_requirements(folder: Path, *, known_lock: str = "", orphans: Orphans | None = None) -> str:
    """Returns the folder's lock; empty if it asks for nothing. Keeps the versions of `known_lock` that still fit.

    The lock is for all platforms, and for this Python and newer ones. Raises DeploymentError with the installer's
    reason.
    """
    text, name = requirements_of(folder)
    if not text.strip():
        return ""
    with tempfile.TemporaryDirectory(prefix="trigger-lock-") as temporary:
        locked = Path(temporary) / "requirements.lock"
        locked.write_text(known_lock, encoding="utf-8")
        source = folder / REQUIREMENTS
        if name == PROJECT:
            source = Path(temporary) / "requirements.in"
            source.write_text(text, encoding="utf-8")
        command = [
            _uv(), "pip", "compile", str(source), "--output-file", str(locked), "--quiet",
            "--universal", "--fork-strategy", "fewest",
            "--python", sys.executable, "--python-version", f"{sys.version_info.major}.{sys.version_info.minor}",
            "--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links",
        ]  # fmt: skip
        done = (orphans or Orphans()).run(command, cwd=folder, environment=installer_environment(os.environ))
        if done.returncode:
            raise DeploymentError(f"{name} could not be locked:\n{reason_of(done.stderr)}")
        return locked.read_text(encoding="utf-8").strip()


def install(python: Path, folder: Path, lock: str, *, orphans: Orphans | None = None) -> None:
    """Installs exactly the lock, with its hashes; raises DeploymentError with the installer's reason."""
    text, name = requirements_of(folder)
    # In the folder, because relative paths in it are relative to where it is.
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".locked-", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join([*index_options(text), lock, ""]))
        file.flush()
        # `--no-deps`: the lock is complete, so that nothing is resolved again.
        command = [_uv(), "pip", "install", "--python", str(python), "--no-deps", "--requirement", file.name]
        done = (orphans or Orphans()).run(command, cwd=folder, environment=installer_environment(os.environ))
    if done.returncode:
        raise DeploymentError(f"The locked packages of {name} could not be installed:\n{reason_of(done.stderr)}")


def reason_of(output: str) -> str:
    """The end of what the installer wrote, which has its reason."""
    text = output.strip()
    return text if len(text) <= REASON_MAX_CHARACTERS else f"…{text[-REASON_MAX_CHARACTERS:]}"


def _project_requirements(path: Path) -> str:
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("project", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeploymentError(f"{PROJECT} cannot be read: {error}") from error
    if not isinstance(project, dict):
        raise DeploymentError(f"{PROJECT}: [project] must be a table")
    if "dependencies" in (project.get("dynamic") or ()):
        raise DeploymentError(
            f"{PROJECT}: project.dynamic names dependencies, which only a build could tell: list them in "
            "project.dependencies, or in a requirements.txt"
        )
    dependencies = project.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(each, str) for each in dependencies):
        raise DeploymentError(f"{PROJECT}: project.dependencies must be a list of texts")
    return "\n".join(dependencies)


def _uv() -> str:
    import uv  # only where something is to be installed

    return uv.find_uv_bin()
