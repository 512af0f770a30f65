"""What a task under the process executor finds of the processes around it, and what it may leave behind: nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.installation import Installation, installation, until
from tests.databases import database

TASKS = Path(__file__).parent / "neighbour_tasks"
MASK = 0x5A

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def site(database_server: str) -> Iterator[Installation]:
    with database() as url, installation(url) as site:
        site.manage("deploy", str(TASKS))
        site.start_worker()
        yield site


def masked(secret: str) -> str:
    """Not the secret itself: the payload passes through processes that are searched for it."""
    return bytes(byte ^ MASK for byte in secret.encode()).hex()


def test_task_finds_no_secret_of_the_processes_around_it(site: Installation) -> None:
    secrets = {
        name: masked(site._environment[name])
        for name in ("TRIGGER_WORKER_TOKEN", "TRIGGER_SECRET_KEY", "TRIGGER_DATABASE_URL")
    }
    ours = [process.pid for process in site.processes]

    run = site.client.trigger("searches", {"secrets": secrets, "pids": ours}).wait(120)

    assert run.state == "completed", run.error
    assert run.output["found"] == []
    assert run.output["searched"] > 0
    # A search that could find nothing would say the same.
    assert run.output["found_in_own_child"] == sorted(secrets)


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the same user that nobody may touch."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_daemon_of_a_run_ends_with_its_killed_agent_and_bystanders_live(
    site: Installation, bystander: "subprocess.Popen[bytes]"
) -> None:
    run = site.client.trigger("daemonises", {})
    (line,) = until(lambda: [line for line in run.logs() if line["message"].startswith("daemon ")], "a daemon")
    daemon = psutil.Process(int(line["message"].split()[1]))
    # The run's process is a fork of the agent, and has its command line.
    agent = [each for each in daemon.parents() if "serve" in each.cmdline()][-1]

    os.kill(agent.pid, signal.SIGKILL)

    until(lambda: not daemon.is_running() or daemon.status() == psutil.STATUS_ZOMBIE, "the daemon is gone")
    until(lambda: run.refresh().attempts()[0]["outcome"] == "crashed", "the attempt has ended")
    assert bystander.poll() is None
    # The worker lives, and starts another agent.
    assert site.client.trigger("searches", {"secrets": {}, "pids": []}).wait(60).state == "completed"
