"""The command line as a person uses it: processes against a running installation, their output and exit codes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, installation
from tests.databases import database
from tests.ports import reserve_port

ROOT = Path(__file__).parents[2]
TASKS = """
from trigger_sdk import *
from trigger_sdk import log
import time

@task(id="flaky", retry=Retry(initial=0))
def flaky(name: str):
    log.info("before", name=name)
    checkpoint("begun")
    if current_run().attempt_number == 1:
        raise RuntimeError("not yet")
    log.info("after")
    return {"hello": name}

@task(id="doomed")
def doomed():
    raise AbortRun("no way")

@task(id="slow")
def slow():
    log.info("sleeping")
    time.sleep(300)
"""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def site(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks.py").write_text(TASKS)
    with database() as url, installation(url) as running:
        running.manage("deploy", str(folder))
        running.start_worker()
        yield running


@pytest.fixture
def trigger(site: Installation) -> Cli:
    def call(*arguments: str, stdin: str = "", url: str = site.client.api.url) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from trigger_sdk.cli import main; main()", *arguments],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT / "sdk" / "python"),
                "TRIGGER_URL": url,
                "TRIGGER_API_KEY": site.client.api._headers["Authorization"].removeprefix("Bearer "),
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


def test_run_is_started_followed_shown_replayed_and_canceled(trigger: Cli) -> None:
    followed = trigger("run", "flaky", "--payload", "-", "--follow", stdin='{"name": "Ada"}')

    assert followed.returncode == 0, followed.stderr
    assert followed.stdout.count("before") == 1
    assert "attempt 1 failed  RuntimeError: not yet" in followed.stdout
    assert followed.stdout.index("before") < followed.stdout.index("not yet") < followed.stdout.index("after")
    assert followed.stdout.splitlines()[-1].startswith("✔ completed")

    (listed,) = map(json.loads, trigger("runs", "--task", "flaky", "--json").stdout.splitlines())
    shown = trigger("show", listed["id"])
    assert 'output    {"hello": "Ada"}' in shown.stdout
    assert "attempt 2  completed  from begun" in shown.stdout
    assert [line.split()[2] for line in trigger("logs", listed["id"]).stdout.splitlines()] == ["before", "after"]

    previewed = trigger("replay", listed["id"], "--from", "begun", "--payload", '{"name": "Eve"}', "--preview")
    assert previewed.returncode == 0, previewed.stderr
    assert "after begun" in previewed.stdout
    assert "because the payload is edited" in previewed.stdout
    replayed = trigger("replay", listed["id"], "--from", "begun", "--follow", "--json")
    events = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert replayed.returncode == 0
    assert [event["message"] for event in events if event["event"] == "log"] == ["after"]
    assert events[-1]["run"]["replay_of"] == listed["id"]
    assert trigger("runs", "--limit", "1").stdout.count("run_") == 1

    running = trigger("run", "slow").stdout.strip()
    follower = trigger_in_background(trigger, running)
    assert trigger("cancel", running).returncode == 0
    assert follower() == 0
    assert json.loads(trigger("show", running, "--json").stdout)["state"] == "canceled"


def test_exit_codes_tell_what_went_wrong(trigger: Cli) -> None:
    doomed = trigger("run", "doomed", "--follow")
    assert (doomed.returncode, doomed.stdout.splitlines()[-1].split()[1]) == (1, "dead_letter")

    (letter,) = map(json.loads, trigger("runs", "--task", "doomed", "--json").stdout.splitlines())
    assert trigger("requeue", letter["id"], "--follow").returncode == 1
    again = json.loads(trigger("show", letter["id"], "--json").stdout)
    assert (again["state"], again["attempt_count"]) == ("dead_letter", 2)
    assert trigger("requeue", letter["id"], "--deployment", "dep_nope").returncode == 3

    unknown = trigger("run", "flakey")
    assert (unknown.returncode, "flakey" in unknown.stderr) == (3, True)
    wrong = trigger("run", "flaky", "--payload", '{"name": 1}', "--json")
    assert wrong.returncode == 3
    assert json.loads(wrong.stdout)["errors"][0]["path"] == "payload.name"
    assert trigger("show", "run_00000000000000000000000000").returncode == 3
    assert trigger("run", "flaky", "--payload", "{").returncode == 2
    assert trigger("run", "flaky", "--payload", "@/no/such/file").returncode == 2

    assert trigger("runs", url=f"http://127.0.0.1:{reserve_port()}").returncode == 4  # nobody listens there


def trigger_in_background(trigger: Cli, run_id: str) -> Callable[[], int]:
    """Follows the log in a thread; the result waits for its end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(trigger, "logs", "-f", run_id)

    def result() -> int:
        code = future.result(120).returncode
        pool.shutdown()
        return code

    return result
