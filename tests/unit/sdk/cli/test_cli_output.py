"""The command line's output in any encoding, and what it says about itself."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trigger_sdk
from trigger_sdk.cli.display import Display, accept_any_text

from tests.unit.sdk.client.peer import Peer

SDK = Path(trigger_sdk.__file__).parents[1]
RUN = {
    "id": "run_1", "task": "tâsk", "state": "completed", "attempt_count": 1, "attempt_limit": 3,
    "created_at": "2026-01-01T00:00:00Z", "started_at": None, "finished_at": None, "dead_letter_seconds": 0.0,
    "payload": {"city": "Kraków"},
}  # fmt: skip


@pytest.fixture
def peer() -> Iterator[Peer]:
    running = Peer()
    yield running
    running.close()


def trigger(peer: Peer, *arguments: str, encoding: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", "from trigger_sdk.cli import main; main()", *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(SDK),
            "PYTHONIOENCODING": encoding,
            "TRIGGER_URL": peer.url,
            "TRIGGER_API_KEY": "tr_key",
        },
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_output_without_the_characters_it_needs_is_escaped(peer: Peer, encoding: str) -> None:
    peer.will_answer((200, {"items": [RUN], "next_cursor": None}), (200, {"items": [RUN], "next_cursor": None}))

    table = trigger(peer, "runs", encoding=encoding)
    line = trigger(peer, "runs", "--json", encoding=encoding)

    assert (table.returncode, line.returncode) == (0, 0), table.stderr + line.stderr
    assert b"completed" in table.stdout
    assert json.loads(line.stdout.decode(encoding)) == RUN


def test_payload_from_standard_input_is_read_as_utf_8(peer: Peer) -> None:
    peer.will_answer((201, RUN))

    started = trigger(peer, "run", "t", "--payload", "-", encoding="ascii", stdin='{"city": "Kraków"}'.encode())

    assert started.returncode == 0, started.stderr
    assert json.loads(peer.requests[0][3])["payload"] == {"city": "Kraków"}


def test_version_is_told(peer: Peer) -> None:
    told = trigger(peer, "--version", encoding="utf-8")

    assert (told.returncode, told.stdout.decode().strip()) == (0, f"trigger {trigger_sdk.__version__}")


def test_signs_are_left_out_where_they_cannot_be_written() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    accept_any_text(stream)

    Display(stream, is_json=False).state({"state": "dead_letter"}, note="naïve")

    stream.seek(0)
    assert stream.read() == "dead_letter  na\\xefve\n"


def test_duplicate_of_a_failed_run_says_how_to_get_a_new_one(peer: Peer) -> None:
    error = {"type": "Declined", "message": "no money", "stack": ""}
    known = {**RUN, "task": "t", "state": "dead_letter", "is_duplicate": True, "idempotency_key": "a b", "error": error}
    peer.will_answer((200, known))

    told = trigger(peer, "run", "t", "--idempotency-key", "a b", encoding="utf-8")

    assert (told.returncode, told.stdout.decode().strip()) == (0, "run_1")
    assert "stands for run_1, state: dead letter (Declined: no money)" in told.stderr.decode()
    assert "trigger idempotency-reset t 'a b'" in told.stderr.decode()
