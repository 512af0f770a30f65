"""`trigger env`: what it sends, and that it never prints a value."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trigger_sdk

from tests.unit.sdk.client.peer import Peer

ROW = {
    "name": "KEY", "task_set": None, "version": 3, "changed_at": "2026-01-01T00:00:00Z", "changed_by": "admin",
    "is_deployed": True,
}  # fmt: skip
SECRET = "sk_live_1"


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.close()


def env(peer: Peer, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    done = subprocess.run(
        [sys.executable, "-c", "from trigger_sdk.cli import main; main()", "env", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(trigger_sdk.__file__).parents[1]),
            "TRIGGER_URL": peer.url,
            "TRIGGER_API_KEY": "tr_key",
        },
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert SECRET.encode() not in done.stdout + done.stderr
    return done


def test_values_are_sent_as_given(peer: Peer) -> None:
    peer.will_answer((200, ROW), (200, ROW), (200, {**ROW, "is_deployed": False}))

    several = env(peer, "set", f"KEY={SECRET}", "URL=https://a.example/?b=c")
    piped = env(peer, "set", "KEY", "--task-set", "a/b", stdin=f"{SECRET}\nsecond line\r\n".encode())

    assert (several.returncode, piped.returncode) == (0, 0), several.stderr + piped.stderr
    assert [(method, path) for method, path, _, _ in peer.requests] == [
        ("PUT", "/api/v1/variables/KEY"), ("PUT", "/api/v1/variables/URL"), ("PUT", "/api/v1/variables/KEY")
    ]  # fmt: skip
    assert [json.loads(body) for *_, body in peer.requests] == [
        {"value": SECRET, "task_set": None},
        {"value": "https://a.example/?b=c", "task_set": None},
        {"value": f"{SECRET}\nsecond line", "task_set": "a/b"},
    ]
    assert b"no deployment has the task set 'a/b' yet" in piped.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["FINE=1", f"PATH={SECRET}"], b"is reserved"),
        ([f"A-B={SECRET}"], b"letters, digits and underscores"),
        (["A", "B"], b"only one value can be read from standard input"),
    ],
)
def test_nothing_is_sent_if_one_cannot_be(peer: Peer, arguments: list[str], reason: bytes) -> None:
    refused = env(peer, "set", *arguments)

    assert refused.returncode == 2
    assert reason in refused.stderr
    assert not peer.requests


def test_list_and_unset(peer: Peer) -> None:
    peer.will_answer((200, {"items": [ROW, {**ROW, "task_set": "orders"}]}), (200, ROW))

    listed = env(peer, "list")
    unset = env(peer, "unset", "KEY", "--task-set", "orders & co")

    assert [line.split()[:3] for line in listed.stdout.decode().splitlines()] == [
        ["NAME", "TASK", "SET"], ["KEY", "all", "3"], ["KEY", "orders", "3"]
    ]  # fmt: skip
    assert unset.returncode == 0
    assert peer.requests[1][:2] == ("DELETE", "/api/v1/variables/KEY?task_set=orders+%26+co")
