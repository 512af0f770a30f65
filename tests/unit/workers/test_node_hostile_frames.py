"""A task that writes to its socket past the SDK: its own attempt ends with words, and its neighbour completes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apps.protocol import CheckpointItem, Claim, DeploymentReply, Finish, LogBatch, Result
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.executors.process import ProcessExecutor
from apps.workers.node.variables import VariableSource
from tests.unit.workers.outboxes import outbox_to
from tests.unit.workers.test_node_process_executor import deployment, opened

SOURCE = '''
import time
from trigger_sdk import step, task
from trigger_sdk.run.context import active_run
from trigger_sdk.wire import encode_frame

def own_socket():
    return active_run().runtime._channel._socket

@task(id="breaks")
def breaks(kind: str):
    header = {"sequence": 1, "key": "k", "kind": "step", "codec": 1, "data_bytes": 1}
    changed = {
        "no-sequence": {"sequence": None}, "word": {"sequence": "one"}, "huge": {"sequence": 10**40},
        "length": {"data_bytes": 10**9}, "negative": {"data_bytes": -1}, "binds": {"binds": [1]},
    }
    raw = {
        "garbage": b"G" * 64,
        "no-json": (1).to_bytes(4) + bytes(4) + b"{",
        "no-object": (2).to_bytes(4) + bytes(4) + b"[]",
        "deep": (100_000).to_bytes(4) + bytes(4) + b"[" * 100_000,
        "load": encode_frame("load", sequence=1, index=-1),
    }
    data = raw.get(kind) or encode_frame("checkpoint", b"1", **{**header, **changed.get(kind, {})})
    own_socket().sendall(data)
    time.sleep(60)

@task(id="floods")
def floods(kind: str):
    """Ends when its neighbour has."""
    own = own_socket()
    header = {"sequence": 1, "index": 0, "key": "k", "kind": "step", "codec": 1, "data_bytes": 1, "message": "x"}
    piece = encode_frame(kind, b"1", **header) * 500
    while True:
        own.sendall(piece)

@task(id="works")
def works():
    return sum(step(f"part-{number}", int, number) for number in range(50))
'''


class Node:
    """The coordinator's part, which says yes to everything."""

    def __init__(self, executor: ProcessExecutor) -> None:
        self.reply = deployment(SOURCE)
        self.finishes: dict[str, Finish] = {}
        self.items: list[CheckpointItem] = []
        self._executor = executor
        self._names: dict[Any, str] = {}

    async def get(self, _: Any) -> DeploymentReply:
        return self.reply

    async def save(self, items: list[CheckpointItem]) -> list[Result]:
        self.items += items
        return [Result(200) for _ in items]

    async def log(self, batches: list[LogBatch]) -> list[Result]:
        return [Result(200) for _ in batches]

    async def start(self, items: list[Any]) -> list[Result]:
        return [Result(200) for _ in items]

    async def data(self, *_: Any) -> Any:
        return None

    async def finish(self, items: list[Finish]) -> list[Result]:
        self.finishes.update((self._names[item.run_id], item) for item in items)
        return [Result(200) for _ in items]

    def begin(
        self, task: str, payload: bytes = b"{}", *, has_checkpoints: bool = False
    ) -> tuple[AttemptRun, "asyncio.Task[None]"]:
        tools = Tools(
            deployments=self,  # type: ignore[arg-type]
            variables=VariableSource(self),  # type: ignore[arg-type]
            executor=self._executor,
            outbox=outbox_to(starts=self.start, checkpoints=self.save, logs=self.log, finishes=self.finish),
            load_checkpoints=self.data, load_data=self.data,
        )  # fmt: skip
        claim = Claim(uuid4(), f"run_{task}", 1, b"token", task, self.reply.deployment_id, payload, 3, has_checkpoints)
        self._names[claim.run_id] = task
        run = AttemptRun(Attempt(claim), tools)
        return run, asyncio.create_task(run.run())


@asynccontextmanager
async def a_node(folder: Path) -> AsyncIterator[Node]:
    async with opened(folder) as executor:
        yield Node(executor)


@pytest.mark.asyncio
async def test_frames_that_are_none_end_their_own_run_with_words(tmp_path: Path) -> None:
    said = {
        "garbage": "over the limit", "no-json": "not JSON", "no-object": "no type", "deep": "not JSON",
        "load": "$.index", "no-sequence": "$.sequence", "word": "$.sequence", "huge": "$.sequence",
        "length": "$.data_bytes", "negative": "$.data_bytes", "binds": "$.binds",
    }  # fmt: skip
    async with a_node(tmp_path) as node:
        for kind, words in said.items():
            _, ended = node.begin("breaks", b'{"kind": "%s"}' % kind.encode())
            await asyncio.wait_for(ended, 60)
            finish = node.finishes.pop("breaks")

            assert (kind, finish.outcome, (finish.error or {})["type"]) == (kind, "crashed", "ProtocolBroken")
            assert words in (finish.error or {})["message"]

        _, ended = node.begin("works")
        await asyncio.wait_for(ended, 60)

    assert node.finishes["works"].output == b"1225"
    assert len(node.items) == 50


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["log", "checkpoint", "load", "begun", "of-no-known-type"])
async def test_run_completes_while_its_neighbour_floods_the_socket(tmp_path: Path, kind: str) -> None:
    async with a_node(tmp_path) as node:
        hostile, flooding = node.begin("floods", b'{"kind": "%s"}' % kind.encode())
        async with asyncio.timeout(60):
            while not hostile._has_spoken:
                await asyncio.sleep(0.01)

        _, ended = node.begin("works")
        await asyncio.wait_for(ended, 60)
        is_still_flooding = not flooding.done()
        hostile.stop("canceled", 0.0)
        await asyncio.wait_for(flooding, 60)

    assert node.finishes["works"].output == b"1225"
    assert is_still_flooding
    assert node.finishes["floods"].outcome == "canceled"
