"""An agent as deployed, in an isolated interpreter (`-I`) whose environment has only the SDK, and its tasks."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.agent.proxy import Proxy

SDK_FOLDER = Path(__file__).parents[3] / "sdk" / "python"

# Tests of stacks count on its three lines.
HEAD = "from trigger_sdk import *\nfrom trigger_sdk import log\nimport os, subprocess, sys, time\n"


def folder_with(path: Path, source: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "tasks.py").write_text(HEAD + source)
    return path


@pytest.fixture(scope="session")
def agent_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agent") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "trigger.pth").write_text(f"{SDK_FOLDER}\n")
    return folder / "bin" / "python"


@pytest.fixture
def proxy(agent_python: Path) -> Iterator[Proxy]:
    # Socket paths have at most 107 bytes, so pytest's own folders are too deep.
    folder = Path(tempfile.mkdtemp(prefix="agent-"))
    folder.chmod(0o711)
    peer = Proxy(folder, agent_python)
    yield peer
    peer.close()
    shutil.rmtree(folder)


@dataclass
class Command:
    """How to start the agent's program as another user."""

    start: list[str]
    options: dict[str, Any]


AsNobody = Callable[[Path], Command]


@pytest.fixture
def as_nobody() -> AsNobody:
    """Gives a folder to that user, and puts a copy of the SDK there that the user can read."""
    if os.getuid() != 0:
        pytest.skip("only root can start a process as somebody else")
    nobody = pwd.getpwnam("nobody")
    options = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def command(folder: Path) -> Command:
        python = next((found for found in PYTHONS if _can_run(found, options)), None)
        if python is None:
            pytest.skip("no Python that user nobody can execute")
        shutil.copytree(SDK_FOLDER / "trigger_sdk", folder / "sdk" / "trigger_sdk")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        code = f"import sys; sys.path.insert(0, '{folder}/sdk'); "
        code += "from trigger_sdk.agent.__main__ import main; sys.exit(main(sys.argv[1:]))"
        return Command([python, "-I", "-c", code], options)

    return command


PYTHONS = (os.path.realpath(sys.executable), "/usr/bin/python3", "/usr/local/bin/python3")


def _can_run(python: str, options: dict[str, Any]) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    try:
        return subprocess.run([python, "-I", "-c", check], cwd="/", check=False, **options).returncode == 0
    except OSError:
        return False
