"""Makes virtual environments for task folders: the SDK and the locked packages, once per content."""

import hashlib
import shutil
import sys
import venv
from pathlib import Path

import trigger_sdk

from apps.workers.node.executors.orphans import Orphans
from apps.workers.node.executors.requirements import (
    has_local_package,
    index_options,
    install,
    lock_requirements,
    requirements_of,
)


def prepare_environment(folder: Path, tasks: Path, *, lock: str | None = None, orphans: Orphans | None = None) -> Path:
    """Returns the interpreter of an environment with the SDK and the lock's packages; made once per content.

    A deployment that was made before there were locks has none (None): its requirements are locked here and now. Raises
    DeploymentError with the installer's output.
    """
    python = _environment(folder, tasks, requirements_of(tasks)[0] if lock is None else lock)
    if (python.parent.parent / ".complete").exists():
        return python
    packages = lock_requirements(tasks, orphans=orphans) if lock is None else lock
    target = python.parent.parent
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=False, symlinks=True)
    site = next((target / "lib").glob("python3*")) / "site-packages"
    (site / "trigger_sdk.pth").write_text(f"{_sdk()}\n")
    if packages:
        install(python, tasks, packages, orphans=orphans)
    (target / ".complete").touch()
    return python


def _environment(folder: Path, tasks: Path, content: str) -> Path:
    """The interpreter's path, which depends on everything that its packages depend on."""
    options = "\n".join(index_options(requirements_of(tasks)[0]))
    parts = [sys.version, str(_sdk()), content, options]
    # Packages in the folder itself have no hash.
    parts += [str(tasks)] if has_local_package(content) else []
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    return folder / key / "bin" / "python"


def _sdk() -> Path:
    return Path(trigger_sdk.__file__).parent.parent
