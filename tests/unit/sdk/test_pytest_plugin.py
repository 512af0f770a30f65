"""The pytest plugin in a project of its own, found by its entry point as in an environment where it is installed."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SDK = Path(__file__).parents[3] / "sdk" / "python"
TASKS = """
from trigger_sdk import checkpoint, log, task
cache = {}

@task("sound")
def sound(number: int):
    log.info("adding", number=number)
    total = number + 1
    checkpoint("added", total=total)
    return total

@task("forgetful")
def forgetful():
    cache["rows"] = 3
    checkpoint("fetched")
    return cache.get("rows")
"""
TESTS = """
import tasks

def test_resumes(trigger_run):
    result = trigger_run(tasks.sound, {"number": 1}, crash_after="added")
    assert (result.output, result.attempts) == (2, 2)

def test_sound(crash_everywhere):
    assert crash_everywhere(tasks.sound, {"number": 1}).output == 2

def test_fails(trigger_run):
    assert trigger_run(tasks.sound, {"number": 1}).output == 3

def test_forgetful(crash_everywhere):
    crash_everywhere(tasks.forgetful)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    entries = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    described = tmp_path / "installed" / "trigger_sdk-0.1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: trigger-sdk\nVersion: 0.1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in entries.items())
    (described / "entry_points.txt").write_text(f"[pytest11]\n{lines}")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    (folder / "test_tasks.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return folder


def pytest_in(project: Path, *options: str) -> str:
    path = os.pathsep.join(map(str, (project.parent / "installed", SDK, project)))
    others = ["-p", "no:cacheprovider", "-p", "no:django", "-p", "no:schemathesis", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *others, *options]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("options", [(), ("-p", "trigger_sdk.testing.pytest_plugin")], ids=["found", "named too"])
def test_fixtures_work_and_failures_show_what_happened(project: Path, options: tuple[str, ...]) -> None:
    output = pytest_in(project, *options)

    assert "2 failed, 2 passed" in output
    assert "AssertionError: forgetful, crashed after 'fetched'" in output
    assert "$ is None instead of 3" in output
    assert "Captured run of sound call" in output
    assert "1 info: adding number=1\n1 attempts; stored: added" in output
