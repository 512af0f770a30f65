"""Locks of task folders and environments made from them, with the real installer and an index of local wheels."""

import subprocess
from pathlib import Path

import pytest

from apps.workers.node.deployments import DeploymentError
from apps.workers.node.executors.environments import prepare_environment
from apps.workers.node.executors.requirements import (
    has_local_package,
    index_options,
    lock_for_pip,
    lock_requirements,
    requirements_of,
)
from apps.workers.node.installing import installer_environment
from tests.wheels import install_from, make_wheel


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_from(monkeypatch, tmp_path / "wheels", tmp_path / "cache")
    make_wheel(tmp_path / "wheels", "tinybase", "1.0")
    make_wheel(tmp_path / "wheels", "tinyshop", "1.0", requires="tinybase")
    return tmp_path / "wheels"


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "requirements.txt").write_text("tinyshop  # any version\n")
    return tmp_path / "tasks"


def version_in(python: Path, module: str) -> str:
    command = [str(python), "-I", "-c", f"import {module}; print({module}.VERSION)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_every_environment_of_a_lock_has_the_same_versions(tmp_path: Path, tasks: Path, wheels: Path) -> None:
    lock = lock_requirements(tasks)
    make_wheel(wheels, "tinybase", "2.0")
    make_wheel(wheels, "tinyshop", "2.0", requires="tinybase")

    workers = [prepare_environment(tmp_path / name, tasks, lock=lock) for name in ("one", "two")]

    assert [line.split()[0] for line in lock.splitlines() if "==" in line] == ["tinybase==1.0", "tinyshop==1.0"]
    assert lock.count("--hash=sha256:") == 2
    assert str(wheels) not in lock
    assert {version_in(python, module) for python in workers for module in ("tinybase", "tinyshop")} == {"1.0"}


def test_environment_is_made_once_per_lock(tmp_path: Path, tasks: Path, wheels: Path) -> None:
    lock = lock_requirements(tasks)
    first = prepare_environment(tmp_path / "venvs", tasks, lock=lock)
    (wheels / "tinyshop-1.0-py3-none-any.whl").unlink()

    assert prepare_environment(tmp_path / "venvs", tasks, lock=lock) == first
    assert prepare_environment(tmp_path / "venvs", tasks, lock="") != first


def test_known_lock_keeps_its_versions_and_a_new_one_takes_the_newest(tasks: Path, wheels: Path) -> None:
    lock = lock_requirements(tasks)
    make_wheel(wheels, "tinyshop", "2.0", requires="tinybase")

    assert lock_requirements(tasks, known_lock=lock) == lock
    assert "tinyshop==2.0" in lock_requirements(tasks)


def test_package_with_another_content_than_locked_is_refused(
    tmp_path: Path, tasks: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lock_requirements(tasks)
    make_wheel(wheels, "tinyshop", "1.0", requires="tinybase>=1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))

    with pytest.raises(DeploymentError, match=r"(?s)could not be installed.*[Hh]ash"):
        prepare_environment(tmp_path / "venvs", tasks, lock=lock)


@pytest.mark.usefixtures("wheels")
def test_reason_of_the_installer_is_told(tasks: Path) -> None:
    (tasks / "requirements.txt").write_text("no-such-package==7\n")

    with pytest.raises(DeploymentError, match=r"(?s)requirements\.txt could not be locked:.*no-such-package"):
        lock_requirements(tasks)


@pytest.mark.usefixtures("wheels")
def test_project_file_is_locked_like_a_list(tasks: Path) -> None:
    (tasks / "requirements.txt").unlink()
    (tasks / "pyproject.toml").write_text('[project]\nname = "shop"\ndependencies = ["tinyshop>=1"]\n')

    assert "tinyshop==1.0" in lock_requirements(tasks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[project]\ndynamic = ["dependencies"]\n', "project.dynamic"),
        ('[project]\ndependencies = "tinyshop"\n', "must be a list of texts"),
        ("[project\n", "cannot be read"),
        ("project = 1\n", "must be a table"),
    ],
)
def test_project_file_that_tells_no_dependencies_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "pyproject.toml").write_text(content)

    with pytest.raises(DeploymentError, match=reason):
        requirements_of(tmp_path)


@pytest.mark.parametrize("content", [None, "", "# nothing\n\n"])
def test_folder_that_needs_nothing_has_an_empty_lock(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "requirements.txt").write_text(content)

    assert lock_requirements(tmp_path) == ""


def test_where_the_user_said_packages_are_is_kept_out_of_the_lock_only() -> None:
    text = "--index-url https://a.example/simple\nshop\n  --extra-index-url=https://b.example\n-f wheels\n-r more.txt\n"

    assert index_options(text) == [
        "--index-url https://a.example/simple", "--extra-index-url=https://b.example", "-f wheels"
    ]  # fmt: skip


def test_installer_sees_settings_of_packages_and_no_secrets() -> None:
    environment = {
        "PATH": "/bin", "TRIGGER_WORKER_TOKEN": "t", "DATABASE_URL": "d", "https_proxy": "http://proxy",
        "SSL_CERT_FILE": "/certs", "PIP_INDEX_URL": "https://pip", "PIP_EXTRA_INDEX_URL": "https://more",
        "UV_EXTRA_INDEX_URL": "https://uv",
    }  # fmt: skip

    assert installer_environment(environment) == {
        "PATH": "/bin", "https_proxy": "http://proxy", "SSL_CERT_FILE": "/certs", "PIP_INDEX_URL": "https://pip",
        "PIP_EXTRA_INDEX_URL": "https://more", "UV_EXTRA_INDEX_URL": "https://uv", "UV_DEFAULT_INDEX": "https://pip",
    }  # fmt: skip


BUILD = """
import os, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "tinylocal-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        wheel.writestr("tinylocal.py", "VERSION = 'in the folder'")
        wheel.writestr("tinylocal-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tinylocal\\nVersion: 1\\n")
        wheel.writestr("tinylocal-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("tinylocal-1.dist-info/RECORD", "")
    return name
"""


def test_packages_and_wheels_inside_the_folder_are_installed_from_it(
    tmp_path: Path, tasks: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UV_FIND_LINKS", "UV_NO_INDEX"):
        monkeypatch.delenv(name)
    wheels.rename(tasks / "wheels")
    package = tasks / "libs" / "tinylocal"
    package.mkdir(parents=True)
    (package / "backend.py").write_text(BUILD)
    (package / "pyproject.toml").write_text(
        '[project]\nname = "tinylocal"\nversion = "1"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tasks / "requirements.txt").write_text("--no-index\n--find-links wheels\ntinyshop\n./libs/tinylocal\n")

    lock = lock_requirements(tasks)
    python = prepare_environment(tmp_path / "venvs", tasks, lock=lock)

    assert (version_in(python, "tinyshop"), version_in(python, "tinylocal")) == ("1.0", "in the folder")
    assert not list(tasks.glob(".locked-*"))
    assert "--hash" in lock
    assert sorted(lock_for_pip(lock).splitlines()) == ["./libs/tinylocal", "tinybase==1.0", "tinyshop==1.0"]


@pytest.mark.parametrize(
    ("text", "is_local"),
    [
        ("shop\n--index-url https://i.example\n", False),
        ("shop @ https://i.example/shop.whl\n", False),
        ("--no-index\nshop\n", False),
        ("./libs/shop\n", True),
        ("-e .\n", True),
        ("-f wheels\nshop\n", True),
    ],
)
def test_what_lies_inside_the_folder_is_known(text: str, *, is_local: bool) -> None:
    assert has_local_package(text) is is_local


def test_lock_whose_packages_all_have_hashes_is_left_as_it_is() -> None:
    lock = "a==1 \\\n    --hash=sha256:00 \\\n    --hash=sha256:01\nb==2 \\\n    --hash=sha256:02"

    assert lock_for_pip(lock) == lock
