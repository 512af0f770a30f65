"""What a task needs around its code, as a person uses it: packages of an index that only the environment makes
reachable, and variables that change between attempts."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.installation import ROOT, Installation, installation, until
from tests.wheels import index_variables, make_wheel

SECRET = "sk_live_0123456789"
TASKS = """
import os

import tinyshop
from trigger_sdk import Retry, log, task

KEY = os.environ["SHOP_KEY"]


@task(id="sell", retry=Retry(max_attempts=1))
def sell(fails: bool = False):
    print("the key is", KEY)
    log.info("selling", key=KEY)
    if fails:
        raise RuntimeError(f"refused with {KEY}")
    return [tinyshop.VERSION, len(KEY), sorted(n for n in os.environ if n.startswith(("UV_", "PIP_", "TRIGGER_")))]
"""

Cli = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site(new_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    for name in list(os.environ):
        if name.startswith(("UV_", "PIP_")):
            monkeypatch.delenv(name)
    for name, value in index_variables(tmp_path / "wheels", tmp_path / "cache").items():
        monkeypatch.setenv(name, value)
    make_wheel(tmp_path / "wheels", "tinyshop", "1.0")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "tasks.py").write_text(TASKS)
    (folder / "requirements.txt").write_text("tinyshop\n")
    with installation(new_database, role="admin") as running:
        yield running


@pytest.fixture
def trigger(site: Installation) -> Cli:
    def call(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "sdk" / "python"),
            "TRIGGER_URL": site.client.api.url,
            "TRIGGER_API_KEY": site.client.api._headers["Authorization"].removeprefix("Bearer "),
        }
        command = [sys.executable, "-c", "from trigger_sdk.cli import main; main()", *arguments]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    return call


def test_packages_are_locked_and_secrets_reach_only_the_task(site: Installation, trigger: Cli, tmp_path: Path) -> None:
    early = trigger("env", "set", "SHOP_KEY", "--task-set", "shop", stdin=f"{SECRET}\n")
    assert (early.returncode, "no deployment has the task set 'shop'" in early.stderr) == (0, True), early.stderr
    site.manage("deploy", str(tmp_path / "shop"))
    make_wheel(tmp_path / "wheels", "tinyshop", "2.0")
    site.start_worker()

    run = site.client.trigger("sell").wait(120)

    assert run.state == "completed", run.data
    assert run.output == ["1.0", len(SECRET), []]
    lines = list(until(lambda: len(found := list(run.logs())) >= 2 and found, "its lines"))
    assert [line["message"] for line in lines] == ["the key is ********", "selling"]
    assert lines[1]["fields"] == {"key": "********"}

    assert trigger("env", "set", "SHOP_KEY=another-secret", "--task-set", "shop").returncode == 0
    changed = site.client.trigger("sell", {"fails": True}).wait(120)
    assert changed.error is not None
    assert changed.error["message"] == "refused with ********"
    assert "another-secret" not in json.dumps(changed.data)
    assert site.client.trigger("sell").wait(120).output[1] == len("another-secret")

    listed = trigger("env", "list", "--task-set", "shop")
    assert "SHOP_KEY" in listed.stdout
    shown = listed.stdout + trigger("env", "list", "--json").stdout + site.logs()
    assert SECRET not in shown
    assert "another-secret" not in shown
    stored = site.query("SELECT value FROM runs_variable UNION ALL SELECT details::text::bytea FROM access_auditentry")
    assert not any(SECRET.encode() in bytes(row[0]) for row in stored)  # type: ignore[call-overload]

    assert trigger("env", "unset", "SHOP_KEY", "--task-set", "shop").returncode == 0
    unset = site.client.trigger("sell")
    (attempt,) = until(lambda: [a for a in unset.attempts() if a["outcome"]][:1], "it says why it does not start")
    assert attempt["outcome"] == "start_failed"
    assert "SHOP_KEY" in attempt["error"]["message"]
    assert unset.refresh().data["attempt_limit"] >= unset.attempt_count + 1
