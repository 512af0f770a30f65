"""What the agent reports about failing code: exceptions, wrong values, signals, folders that do not import."""

from pathlib import Path

import pytest

from tests.acceptance.agent.conftest import folder_with
from tests.acceptance.agent.proxy import DEADLINE_SECONDS, Proxy


def test_failure_shows_the_users_own_lines(proxy: Proxy, tmp_path: Path) -> None:
    source = """
class Declined(Exception):
    pass

def charge():
    raise Declined("no money \\x00 \\ud800")

@task(id="pay")
def pay():
    checkpoint("before")
    charge()
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("pay", folder=tmp_path)
    header = attempt.wait("failed").header

    error = header["error"]
    assert error["type"] == "tasks.Declined"
    assert error["message"] == "no money \N{REPLACEMENT CHARACTER} ?"
    files = [line.strip() for line in error["stack"].splitlines() if line.strip().startswith("File ")]
    assert files == ['File "tasks.py", line 14, in pay', 'File "tasks.py", line 9, in charge']
    assert (header["retry_after_seconds"], header["is_abort"], header["stop_reason"]) == (None, False, None)


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        ("RetryAfter(7.5)", {"retry_after_seconds": 7.5, "is_abort": False}),
        ("AbortRun('no such customer')", {"retry_after_seconds": None, "is_abort": True}),
        ("SystemExit(0)", {"retry_after_seconds": None, "is_abort": False}),
    ],
)
def test_exceptions_with_a_meaning(proxy: Proxy, tmp_path: Path, raised: str, expected: dict[str, object]) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", f"@task(id='one')\ndef one():\n    raise {raised}\n"))

    header = proxy.run("one", folder=tmp_path).wait("failed").header

    assert {name: header[name] for name in expected} == expected


UNSTORABLE = """
@task(id="output")
def output():
    return {"order": {"client": object()}}

@task(id="saved")
def saved():
    order = {"client": object()}
    checkpoint("ordered", order=order)

@task(id="step")
def stepped():
    step("fetch", lambda: {"order": {"client": object()}}, retry=Retry(max_attempts=5))

@task(id="grouped")
async def grouped():
    import asyncio
    async def fetch():
        return {"order": {"client": object()}}
    async with asyncio.TaskGroup() as group:
        group.create_task(step("fetch", fetch))
"""


@pytest.mark.parametrize("task", ["output", "saved", "step", "grouped"])
def test_value_that_cannot_be_stored_ends_the_run_and_names_the_path(proxy: Proxy, tmp_path: Path, task: str) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", UNSTORABLE))

    header = proxy.run(task, folder=tmp_path).wait("failed").header

    assert header["is_abort"] is True
    assert "$.order.client" in header["error"]["stack"]


def test_payload_that_does_not_fit_ends_the_run(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", "@task(id='one')\ndef one(count: int): pass\n"))

    header = proxy.run("one", b'{"count": "x"}', folder=tmp_path).wait("failed").header

    assert header["is_abort"] is True
    assert "count" in header["error"]["message"]


def test_deep_recursion_leaves_a_bounded_stack(proxy: Proxy, tmp_path: Path) -> None:
    source = """
def down(n):
    return down_again(n)
def down_again(n):
    return down(n)
@task(id="one")
def one():
    down(0)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    error = proxy.run("one", folder=tmp_path).wait("failed").header["error"]

    assert error["type"] == "RecursionError"
    assert len(error["stack"].encode()) < 66_000
    assert "frames left out" in error["stack"]


def test_unknown_task_is_a_failure_that_names_it(proxy: Proxy, tmp_path: Path) -> None:
    proxy.ready(folder_with(tmp_path / "tasks", "@task(id='one')\ndef one(): pass\n"))

    error = proxy.run("other", folder=tmp_path).wait("failed").header["error"]

    assert "other" in error["message"]


def test_folder_that_does_not_import_is_reported(proxy: Proxy, tmp_path: Path) -> None:
    tasks = folder_with(tmp_path / "tasks", "import no_such_package\n")
    process = proxy.start_agent(tasks)

    error = proxy.expect("load_failed").header["error"]

    assert error["type"] == "ModuleNotFoundError"
    assert "no_such_package" in error["message"]
    assert "importlib" not in error["stack"]
    assert 'File "tasks.py", line 4' in error["stack"]
    assert process.wait(DEADLINE_SECONDS) == 1


def test_segmentation_fault_is_reported_as_its_signal(proxy: Proxy, tmp_path: Path) -> None:
    source = "import ctypes\n@task(id='one')\ndef one():\n    ctypes.string_at(0)\n"
    proxy.ready(folder_with(tmp_path / "tasks", source))

    exited = proxy.run("one", folder=tmp_path).end()

    assert (exited.header["exit_code"], exited.header["signal"]) == (None, 11)
    assert exited.header["is_out_of_memory"] is False
