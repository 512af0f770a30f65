"""The agent as a process of its own, against a real socket peer: runs, checkpoints, output, failures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trigger_sdk.wire import Frame

from tests.acceptance.agent.conftest import AsNobody
from tests.acceptance.agent.proxy import Attempt, Proxy, Stored

HEAD = "from trigger_sdk import *\nfrom trigger_sdk import log\nimport os, sys, time\n"


def folder_with(path: Path, source: str) -> Path:
    path.mkdir(exist_ok=True)
    (path / "tasks.py").write_text(HEAD + source)
    return path


def test_run_reports_start_checkpoint_output_and_end(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="add")
def add(a: int, b: int = 2):
    total = a + b
    checkpoint("added", {"total": total})
    return {"total": total}
"""
    ready = proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("add", b'{"a": 1}', folder=tmp_path)
    exited = attempt.end()

    assert ready.header["tasks"] == ["add"]
    assert ready.header["can_fork"] is True
    assert attempt.wait("started").header["kind"] == "fork"
    assert attempt.wait("begun").header["resumed_from"] is None
    (checkpoint,) = attempt.checkpoints
    assert checkpoint.body == b'{"total":3}'
    assert checkpoint.header == {"sequence": 1, "key": "added", "binds": ["total"], "data_bytes": 11}
    assert attempt.wait("completed").body == b'{"total":3}'
    assert (exited.header["exit_code"], exited.header["signal"]) == (0, None)
    assert exited.header["peak_memory_bytes"] > 1_000_000
    assert exited.header["is_out_of_memory"] is False


def test_stored_checkpoints_are_restored_and_nothing_before_them_runs(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="grow")
def grow(items: list):
    log.info("never again")
    checkpoint("listed", {"items": items})
    items.append(len(items))
    checkpoint("grown")
    log.info("only this")
    return items
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    stored = [
        Stored("listed", 0, ["items"], b'{"items":[7]}'),
        Stored("grown", 1, [], b"{}", carried=b'{"items":[7,1]}'),
    ]

    attempt = proxy.run("grow", b'{"items": [7]}', number=2, stored=stored, folder=tmp_path)
    attempt.end()

    assert attempt.wait("begun").header["resumed_from"] == "grown"
    assert attempt.lines("log") == ["only this"]
    assert attempt.wait("completed").body == b"[7,1]"


def test_changed_values_travel_behind_the_data(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="grow")
def grow(items: list):
    items.append(1)
    checkpoint("grown", {"note": "x" + "y"})
    return items
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("grow", b'{"items": []}', folder=tmp_path)
    attempt.end()

    (checkpoint,) = attempt.checkpoints
    data_bytes = checkpoint.header["data_bytes"]
    assert json.loads(checkpoint.body[:data_bytes]) == {"note": "xy"}
    assert json.loads(checkpoint.body[data_bytes:]) == {"items": [1]}


def test_checkpoint_returns_only_after_the_answer(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="one")
def one():
    checkpoint("first")
    log.info("saved")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))
    attempt = proxy.run("one", folder=tmp_path, answer=lambda *_: None)
    checkpoint = attempt.wait("checkpoint")

    with pytest.raises(AssertionError, match="no 'log' frame"):
        attempt.wait("log", seconds=0.4)

    assert checkpoint.header["key"] == "first"
    proxy.stop(attempt, "canceled", 0)
    assert attempt.end().header["signal"] == 9


def test_refused_checkpoint_is_raised_in_the_task(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="one")
def one():
    checkpoint("first")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    def refuse(_: Attempt, frame: Frame) -> Frame:
        header = {"sequence": frame.header["sequence"], "code": "limit", "message": "more than 10,000 checkpoints"}
        return Frame("refused", header)

    attempt = proxy.run("one", folder=tmp_path, answer=refuse)
    failed = attempt.wait("failed")

    assert failed.header["error"]["type"] == "trigger_sdk.errors.CheckpointRefused"
    assert "more than 10,000" in failed.header["error"]["message"]


def test_stale_attempt_ends_at_once(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="one")
def one():
    try:
        checkpoint("first")
    finally:
        open("went-on", "w")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    def refuse(_: Attempt, frame: Frame) -> Frame:
        return Frame("refused", {"sequence": frame.header["sequence"], "code": "stale", "message": ""})

    exited = proxy.run("one", folder=tmp_path, answer=refuse).end()

    assert exited.header["exit_code"] == 72
    assert not (tmp_path / "went-on").exists()


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
    tasks = folder_with(tmp_path / "tasks", source)
    proxy.ready(tasks)

    attempt = proxy.run("pay", folder=tmp_path)
    header = attempt.wait("failed").header

    error = header["error"]
    assert error["type"] == "tasks.Declined"
    assert error["message"] == "no money \N{REPLACEMENT CHARACTER} ?"
    files = [line.strip() for line in error["stack"].splitlines() if line.strip().startswith("File ")]
    assert files == [f'File "{tasks}/tasks.py", line 14, in pay', f'File "{tasks}/tasks.py", line 9, in charge']
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


def test_output_that_cannot_be_stored_names_the_path(proxy: Proxy, tmp_path: Path) -> None:
    source = "@task(id='one')\ndef one():\n    return {'order': {'client': object()}}\n"
    proxy.ready(folder_with(tmp_path / "tasks", source))

    header = proxy.run("one", folder=tmp_path).wait("failed").header

    assert "$.order.client" in header["error"]["message"]


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


def test_prints_and_logs_keep_their_order(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import logging
@task(id="talk")
def talk():
    print("one", end="")
    print(" and a half")
    log.info("two", n=2)
    print("three", file=sys.stderr)
    logging.getLogger("shop").warning("four %s", 4)
    sys.stdout.write("five without newline")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("talk", folder=tmp_path)
    attempt.end()

    lines = [
        (f.header["source"], f.header["level"], f.header["message"], f.header["fields"]) for f in attempt.of("log")
    ]
    assert lines == [
        ("stdout", "info", "one and a half", {}),
        ("log", "info", "two", {"n": 2}),
        ("stderr", "warning", "three", {}),
        ("log", "warning", "four 4", {"logger": "shop"}),
        ("stdout", "info", "five without newline", {}),
    ]


def test_output_of_subprocesses_and_forks_arrives_by_the_agent(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import subprocess
@task(id="talk")
def talk():
    subprocess.run(["sh", "-c", "echo from sh; echo to stderr >&2; printf tail"])
    pid = os.fork()
    if pid == 0:
        print("from the fork")
        os._exit(0)
    os.waitpid(pid, 0)
    os.write(1, b"x" * 150_000 + b"\\n" + b"bad \\xff byte\\n")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("talk", folder=tmp_path)
    attempt.end()

    out, err = attempt.lines("stdout"), attempt.lines("stderr")
    assert out[0] == "from sh"
    assert "tailfrom the fork" in out
    assert [len(line) for line in out if set(line) == {"x"}] == [65_536, 65_536, 18_928]
    assert "bad \N{REPLACEMENT CHARACTER} byte" in out
    assert err == ["to stderr"]
    assert attempt.of("completed")


def test_flood_of_lines_is_cut_and_counted(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="flood")
def flood():
    for n in range(50_010):
        print(n)
    os.write(1, b"line\\n" * 50_020)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("flood", folder=tmp_path)
    attempt.end(120)

    cut = [line for line in attempt.lines("log", "system") if "cut here" in line]
    assert len(attempt.lines("stdout")) == 100_000
    assert [line.split()[3] for line in cut] == ["10", "20"]


def test_run_has_a_place_of_its_own(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import random, tempfile
tempfile.gettempdir()
@task(id="where")
def where():
    with open("/proc/self/oom_score_adj") as file:
        score = int(file.read())
    return [os.getcwd(), os.environ["HOME"], tempfile.gettempdir(), os.getsid(0) == os.getpid(), score,
            os.environ["SHOP"], random.random(), sys.stdin.read()]
"""
    proxy.variables = {"SHOP": "north"}
    proxy.ready(folder_with(tmp_path / "tasks", source))
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()

    results = [json.loads(proxy.run("where", folder=folder).wait("completed").body) for folder in folders]

    for folder, result in zip(folders, results, strict=True):
        assert result[:3] == [str(folder)] * 3
        assert result[3:6] == [True, 1000, "north"]
    assert results[0][6] != results[1][6], "both runs drew the same random number"


def test_child_does_not_hold_the_agents_secret_or_descriptors(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import gc
@task(id="look")
def look():
    held = [o for o in gc.get_objects() if type(o).__name__ in ("Agent", "Control", "Runs", "InChild")]
    frames, frame = [], sys._getframe()
    while frame:
        frames.append(frame.f_code.co_name)
        frame = frame.f_back
    targets = sorted(os.readlink(f"/proc/self/fd/{n}").split(":")[0] for n in os.listdir("/proc/self/fd")
                     if os.path.exists(f"/proc/self/fd/{n}"))
    return [len(held), "_answer" in frames, targets]
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    held, is_in_loop, targets = json.loads(proxy.run("look", folder=tmp_path).wait("completed").body)

    assert held == 0
    assert not is_in_loop
    # Its own connection, the two outputs, the reasons of a stop; /dev/null and the listing itself come on top.
    assert targets.count("socket") == 1
    assert targets.count("pipe") == 3
    assert "anon_inode" not in targets


def test_childs_memory_does_not_hold_the_agents_secret(proxy: Proxy, tmp_path: Path) -> None:
    source = """
import re
@task(id="search")
def search(plant: bool):
    planted = "-t3rc3s"[::-1] * 3 if plant else ""
    found = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in maps:
            bounds, rights = line.split()[:2]
            start, end = (int(bound, 16) for bound in bounds.split("-"))
            if not rights.startswith("rw"):
                continue
            memory.seek(start)
            found += len(re.findall(rb"(?:s3cr3t-){3}", memory.read(end - start)))
    return found, len(planted)
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    found = [
        json.loads(proxy.run("search", b'{"plant": %s}' % plant, folder=tmp_path).wait("completed").body)["value"][0]
        for plant in (b"false", b"true")
    ]

    assert found[0] == 0
    assert found[1] > 0, "the search does not even find what lies there"


def test_another_process_of_the_same_user_cannot_read_the_agents_memory(proxy: Proxy, as_nobody: AsNobody) -> None:
    source = """
@task(id="look")
def look():
    found = []
    for pid in (os.getppid(), os.getpid()):
        try:
            open(f"/proc/{pid}/environ").close()
            found.append("open")
        except PermissionError:
            found.append("closed")
    return [os.getuid(), *found]
"""
    tasks = folder_with(proxy.folder / "tasks", source)
    folder = proxy.folder / "run"
    folder.mkdir()
    command = as_nobody(proxy.folder)
    proxy.start_agent(
        tasks,
        command=[*command.start, "serve", "--socket-dir", str(proxy.folder), "--tasks", str(tasks)],
        **command.options,
    )
    proxy.expect("ready")

    attempt = proxy.run("look", folder=folder)

    assert json.loads(attempt.wait("completed").body) == [command.options["user"], "closed", "open"]


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
    assert f'{tasks}/tasks.py", line 4' in error["stack"]
    assert process.wait(10) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n", "1 threads"),
        ("import socket\nheld = socket.socket()\n", "1 sockets"),
    ],
)
def test_code_that_makes_forks_unsafe_gets_fresh_interpreters(
    proxy: Proxy, tmp_path: Path, source: str, reason: str
) -> None:
    source += """
@task(id="add")
def add(a: int):
    print("adding")
    b = a + 1
    checkpoint("added", {"b": b})
    return [b, os.getcwd(), os.getsid(0) == os.getpid()]
"""
    ready = proxy.ready(folder_with(tmp_path / "tasks", source))

    attempt = proxy.run("add", b'{"a": 1}', folder=tmp_path)
    exited = attempt.end()

    assert ready.header["can_fork"] is False
    assert reason in ready.header["fork_refusal"]
    assert attempt.wait("started").header["kind"] == "spawn"
    assert json.loads(attempt.wait("completed").body) == [2, str(tmp_path), True]
    assert attempt.lines() == ["adding"]
    assert exited.header["exit_code"] == 0


def test_segmentation_fault_is_reported_as_its_signal(proxy: Proxy, tmp_path: Path) -> None:
    source = "import ctypes\n@task(id='one')\ndef one():\n    ctypes.string_at(0)\n"
    proxy.ready(folder_with(tmp_path / "tasks", source))

    exited = proxy.run("one", folder=tmp_path).end()

    assert (exited.header["exit_code"], exited.header["signal"]) == (None, 11)
    assert exited.header["is_out_of_memory"] is False


def test_many_runs_at_once_stay_apart(proxy: Proxy, tmp_path: Path) -> None:
    source = """
@task(id="echo")
def echo(n: int):
    print(f"line of {n}")
    checkpoint("seen", {"n": n})
    return n
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    attempts = [proxy.run("echo", json.dumps({"n": n}).encode(), folder=tmp_path) for n in range(40)]

    for n, attempt in enumerate(attempts):
        attempt.end()
        assert attempt.wait("completed").body == str(n).encode()
        assert attempt.lines() == [f"line of {n}"]


@pytest.mark.parametrize("kind", ["order", "receipt"])
def test_example_order_continues_behind_the_fetch(proxy: Proxy, tmp_path: Path, kind: str) -> None:
    proxy.variables = {"SHOP_FOLDER": str(tmp_path)}
    proxy.ready(Path(__file__).parents[3] / "examples" / "orders")
    task = {"order": "process-order", "receipt": "send-receipt"}[kind]

    first = proxy.run(task, b'{"order_id": "A1"}', folder=tmp_path)
    first.end()
    saved = [
        Stored(f.header["key"], index, f.header["binds"], f.body[: f.header["data_bytes"]])
        for index, f in enumerate(first.checkpoints)
    ]
    second = proxy.run(task, b'{"order_id": "A1"}', number=2, stored=saved, folder=tmp_path)
    second.end()

    calls = [json.loads(line)["call"] for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert calls.count("fetch_order") == 1
    assert second.wait("begun").header["resumed_from"] == saved[-1].key
    if kind == "order":
        assert first.wait("failed").header["error"]["type"] == "shop.PaymentDeclined"
        assert calls == ["fetch_order", "charge", "charge", "decrement_inventory"]
        assert json.loads(second.wait("completed").body)["order_id"] == "A1"


def test_usage_is_said_in_one_glance() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "trigger_sdk.agent", "serve"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "sdk" / "python")},
    )

    assert answer.returncode == 2
    assert "--socket-dir DIR --tasks FOLDER" in answer.stderr
