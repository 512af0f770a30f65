"""What a running `make run` offers, and whom it keeps out: one installation for all of these tests."""

import html
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import requests

from tests.acceptance.make_run import (
    HEALTHY_SECONDS,
    ROOT,
    WITH_EXAMPLES,
    MakeRun,
    make_cluster,
    make_runs,
    run_folder,
    status_of,
)


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., MakeRun]]:
    with run_folder() as folder:
        make_cluster(folder)
        with make_runs(folder) as start_one:
            yield start_one


@pytest.fixture(scope="module")
def run(start: Callable[..., MakeRun]) -> MakeRun:
    return start(*WITH_EXAMPLES)


@pytest.fixture(scope="module")
def info(run: MakeRun) -> dict[str, Any]:
    return run.wait_until_healthy()


def test_command_of_the_first_page_works_as_copied(run: MakeRun, info: dict[str, Any]) -> None:
    page = first_page(run, info["url"])

    # The command finds the installation by the folder `var` where it is called, which is not the checkout's here.
    (run.var_dir.parent / ".venv").symlink_to(ROOT / ".venv")
    command = html.unescape(re.findall(r'data-copy="([^"]+)"', page)[0])
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=run.var_dir.parent,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=HEALTHY_SECONDS,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "completed" in (done.stdout + done.stderr).lower()
    assert f"Try        {command}\n" in run.output
    assert f"\n{command}\n" in (ROOT / "README.md").read_text()
    assert "annot connect" not in run.output


def first_page(run: MakeRun, url: str) -> str:
    """What the printed link leads a newcomer to."""
    link = next(word for line in run.output.splitlines() if "Dashboard" in line for word in line.split()[1:])
    with requests.Session() as session:
        form = session.get(link).text
        token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)[0]
        return session.post(link, data={"csrfmiddlewaretoken": token}, headers={"Referer": url}).text


def test_worker_has_neither_database_nor_secret_key(info: dict[str, Any]) -> None:
    environment = psutil.Process(info["pids"]["worker"]).environ()
    command = " ".join(psutil.Process(info["pids"]["worker"]).cmdline())

    assert "apps.workers.node" in command
    assert not {"TRIGGER_DATABASE_URL", "TRIGGER_SECRET_KEY", "DJANGO_SETTINGS_MODULE"} & set(environment)


def test_second_start_on_the_same_folder_names_the_first(start: Callable[..., MakeRun], info: dict[str, Any]) -> None:
    second = start()

    assert second.wait() != 0
    assert f"process {info['pids']['supervisor']}" in second.output
    assert status_of(f"{info['url']}/health") == 200
