"""Makes virtual environments for task folders: the SDK and their `requirements.txt`, once per content."""

import hashlib
import shutil
import sys
import venv
from pathlib import Path

import trigger_sdk

from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.orphans import Orphans


def prepare_environment(folder: Path, tasks: Path, orphans: Orphans | None = None) -> Path:
    """Returns the interpreter of an environment with the SDK and the folder's requirements; made once per content.

    Raises DeploymentError with the installer's output.
    """
    requirements = tasks / "requirements.txt"
    text = requirements.read_bytes() if requirements.is_file() else b""
    sdk = Path(trigger_sdk.__file__).parent.parent
    key = hashlib.sha256(b"\x00".join([sys.version.encode(), str(sdk).encode(), text])).hexdigest()[:16]
    target = folder / key
    python = target / "bin" / "python"
    if (target / ".complete").exists():
        return python
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=False, symlinks=True)
    packages = next((target / "lib").glob("python3*")) / "site-packages"
    (packages / "trigger_sdk.pth").write_text(f"{sdk}\n")
    if text.strip():
        import uv

        command = [uv.find_uv_bin(), "pip", "install", "--python", str(python), "--requirement", str(requirements)]
        done = (orphans or Orphans()).run(command)
        if done.returncode:
            raise DeploymentError(f"requirements.txt could not be installed:\n{done.stderr[-2000:]}")
    (target / ".complete").touch()
    return python
