"""The agent as a separate process, against a real socket peer: whole runs, checkpoints, examples, its usage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from trigger_sdk.wire import Frame

from tests.acceptance.agent.conftest import SDK_FOLDER, folder_with
from tests.acceptance.agent.proxy import Attempt, Proxy, Stored


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
    header = {"sequence": 1, "key": "added", "kind": "checkpoint", "codec": 1, "binds": ["total"], "data_bytes": 11}
    assert checkpoint.header == header
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


def test_changed_values_travel_after_the_data(proxy: Proxy, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("code", "is_abort"), [("limit", True), ("too_large", True), ("invalid", True), ("conflict", False)]
)
def test_refused_checkpoint_is_raised_in_the_task_and_ends_the_run_where_no_attempt_could_save_it(
    proxy: Proxy, tmp_path: Path, code: str, *, is_abort: bool
) -> None:
    source = """
@task(id="one")
def one():
    checkpoint("first")
"""
    proxy.ready(folder_with(tmp_path / "tasks", source))

    def refuse(_: Attempt, frame: Frame) -> Frame:
        header = {"sequence": frame.header["sequence"], "code": code, "message": "more than 10,000 checkpoints"}
        return Frame("refused", header)

    attempt = proxy.run("one", folder=tmp_path, answer=refuse)
    failed = attempt.wait("failed")

    assert failed.header["error"]["type"] == "trigger_sdk.errors.CheckpointRefused"
    assert "more than 10,000" in failed.header["error"]["message"]
    assert failed.header["is_abort"] is is_abort


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
def test_example_order_continues_after_the_fetch(proxy: Proxy, tmp_path: Path, kind: str) -> None:
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
        env={**os.environ, "PYTHONPATH": str(SDK_FOLDER)},
    )

    assert answer.returncode == 2
    assert "--socket-dir DIR --tasks FOLDER" in answer.stderr
