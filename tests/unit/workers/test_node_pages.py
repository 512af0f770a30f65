"""What an attempt resumes from comes page by page, with a real agent: all of it arrives, and no more is asked for
than has been read."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from apps.protocol import StoredCheckpoint, StoredCheckpoints
from apps.workers.node.coordinator import CallRefusedError
from apps.workers.node.hosts.roles import ChildConnection
from tests.unit.workers.host_peers import Listener
from tests.unit.workers.test_node_allowance import a_child
from tests.unit.workers.test_node_hostile_frames import Node, opened
from tests.unit.workers.test_node_process_executor import deployment

COUNT = 30
SIZE = 1_000_000
LINES = "\n".join(f"    v{n} = 0\n    checkpoint('c{n}', v{n}=v{n})" for n in range(COUNT))
SUM = " + ".join(f"len(v{n})" for n in range(COUNT))
SOURCE = f"""
import time
from trigger_sdk import checkpoint, task

@task(id="resumes")
def resumes():
{LINES}
    return {SUM}
"""


class Pages(Node):
    """A coordinator that gives one checkpoint of a megabyte on each page."""

    def __init__(self, executor: Any, stale_from: int = COUNT) -> None:
        super().__init__(executor)
        self.reply = deployment(SOURCE)
        self.asked: list[int] = []
        self.stale_from = stale_from

    async def data(self, run_id: Any, token: bytes, after: int = -1) -> Any:
        index = after + 1
        self.asked.append(index)
        if index >= self.stale_from:
            raise CallRefusedError(409, "stale", "The attempt token is not the run's current one.")
        data = json.dumps({f"v{index}": "x" * SIZE}).encode()
        entry = StoredCheckpoint(f"c{index}", index, data, [f"v{index}"])
        return StoredCheckpoints([entry], index if index + 1 < COUNT else None)


@pytest.mark.asyncio
async def test_attempt_resumes_with_what_came_on_many_pages(tmp_path: Path) -> None:
    async with opened(tmp_path) as executor:
        node = Pages(executor)

        _, ended = node.begin("resumes", has_checkpoints=True)
        await asyncio.wait_for(ended, 60)

    finish = node.finishes["resumes"]
    assert (finish.outcome, finish.output) == ("completed", b"%d" % (COUNT * SIZE)), finish.error
    assert finish.resumed_from == f"c{COUNT - 1}"
    assert node.asked == list(range(COUNT))


@pytest.mark.asyncio
async def test_attempt_that_turns_out_stale_among_its_pages_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as executor:
        node = Pages(executor, stale_from=3)

        run, ended = node.begin("resumes", has_checkpoints=True)
        await asyncio.wait_for(ended, 60)

    assert run.attempt.stop_reason == "stale"
    assert node.finishes == {}


@pytest.mark.asyncio
async def test_next_page_is_asked_for_when_the_process_has_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, wait_read = asyncio.Event(), ChildConnection.wait_read

    async def wait_at_the_gate(child: ChildConnection) -> None:
        await gate.wait()
        await wait_read(child)

    monkeypatch.setattr(ChildConnection, "wait_read", wait_at_the_gate)
    async with opened(tmp_path) as executor:
        node = Pages(executor)
        run, ended = node.begin("resumes", has_checkpoints=True)
        async with asyncio.timeout(60):
            while run._child is None:
                await asyncio.sleep(0.01)
        for _ in range(100):
            await asyncio.sleep(0)
        held = list(node.asked)
        gate.set()
        await asyncio.wait_for(ended, 60)

    assert held == [0]
    assert node.asked == list(range(COUNT))


@pytest.mark.asyncio
async def test_a_process_has_read_when_little_of_what_it_was_sent_is_left(tmp_path: Path) -> None:
    listener = Listener()
    async with a_child(tmp_path, listener) as peer:
        child = listener.children[0]
        peer._reader._transport.pause_reading()  # type: ignore[attr-defined]
        child.send("stored", b"x" * 8_000_000)
        reading = asyncio.create_task(child.wait_read())
        for _ in range(100):
            await asyncio.sleep(0)
        is_held = not reading.done()
        peer._reader._transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(30):
            await peer.receive()
            await reading

    assert is_held
