"""Runs that share a process, from the node's side: real agents, a real socket, and the pool between the runs."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psutil
import pytest

from apps.protocol import (
    Claim,
    DeploymentReply,
    Finish,
    LogBatch,
    Result,
    StoredCheckpoint,
    StoredCheckpoints,
    TaskOptions,
)
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.executors import pool as warm
from apps.workers.node.executors.base import Executor
from apps.workers.node.variables import VariableSource
from tests.unit.workers.outboxes import outbox_to
from tests.unit.workers.test_node_process_executor import deployment, opened

SOURCE = """
import os, subprocess, time
from trigger_sdk import checkpoint, task

seen = []

@task(id="t", warm_start="same_process")
def t(name: str = "", seconds: float = 0, fail: bool = False):
    seen.append(name)
    if name:
        print("print", name)
        os.write(1, b"raw " + name.encode() + b"\\n")
    time.sleep(seconds)
    if fail:
        raise ValueError(name)
    checkpoint("saved", {"name": name})
    return [os.getpid(), len(seen), os.getcwd()]
"""
OPTIONS = TaskOptions(warm_start="same_process")


class Node:
    """A worker without its loops: claims that a test makes up, and a coordinator that notes what it is sent."""

    def __init__(self, executor: Executor, reply: DeploymentReply | None = None) -> None:
        self.executor = executor
        self.reply = reply or msgspec.structs.replace(deployment(SOURCE), tasks={"t": OPTIONS})
        self.task = "t"
        self.has_run_out_of_memory = False
        self.finishes: list[Finish] = []
        self.logs: list[LogBatch] = []
        self.stored: list[StoredCheckpoint] = []
        self.is_stale = False

    async def get(self, _: Any) -> DeploymentReply:
        return self.reply

    async def finish(self, items: list[Finish]) -> list[Result]:
        self.finishes += items
        return [Result(409, "stale") if self.is_stale else Result(200) for _ in items]

    async def log(self, items: list[LogBatch]) -> list[Result]:
        self.logs += items
        return [Result(200) for _ in items]

    async def save(self, items: list[Any]) -> list[Result]:
        return [Result(200) for _ in items]

    async def checkpoints(self, *_: Any) -> StoredCheckpoints:
        return StoredCheckpoints(self.stored)

    def begin(self, **payload: Any) -> tuple[AttemptRun, "asyncio.Task[None]"]:
        tools = Tools(
            deployments=self,  # type: ignore[arg-type]
            variables=VariableSource(self),  # type: ignore[arg-type]
            executor=self.executor,
            outbox=outbox_to(starts=self.save, checkpoints=self.save, logs=self.log, finishes=self.finish),
            load_checkpoints=self.checkpoints, load_data=self.save,
        )  # fmt: skip
        run_id = uuid4()
        data = json.dumps(payload).encode()
        claim = Claim(
            run_id, f"run_{run_id.hex}", 1, b"token", self.task, self.reply.deployment_id, data, 3,
            has_checkpoints=bool(self.stored), has_run_out_of_memory=self.has_run_out_of_memory,
        )  # fmt: skip
        run = AttemptRun(Attempt(claim), tools)
        return run, asyncio.create_task(run.run())

    async def run(self, **payload: Any) -> Finish:
        run, working = self.begin(**payload)
        await asyncio.wait_for(working, 60)
        return next(finish for finish in self.finishes if finish.run_id == run.attempt.claim.run_id)

    def lines(self, finish: Finish) -> list[str]:
        return [line.message for batch in self.logs if batch.run_id == finish.run_id for line in batch.lines]


@asynccontextmanager
async def a_node(folder: Path) -> AsyncIterator[Node]:
    async with opened(folder) as executor:
        yield Node(executor)


def output(finish: Finish) -> Any:
    assert finish.output is not None, finish.error
    return json.loads(finish.output)


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.asyncio
async def test_next_run_of_a_task_takes_the_process_of_the_last(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        finishes = [await node.run(name=name) for name in "ABC"]
        outputs = [output(finish) for finish in finishes]

        assert {finish.outcome for finish in finishes} == {"completed"}
        assert [finish.start_kind for finish in finishes] == ["cold", "warm", "warm"]
        assert len({pid for pid, _, _ in outputs}) == 1
        assert [count for _, count, _ in outputs] == [1, 2, 3]
        assert len({folder for _, _, folder in outputs}) == 3
        assert [sorted(node.lines(finish)) for finish in finishes] == [[f"print {n}", f"raw {n}"] for n in "ABC"]
        assert all((finish.peak_memory_bytes or 0) > 1_000_000 for finish in finishes)
        assert list((tmp_path / "process" / "runs").iterdir()) == []


@pytest.mark.asyncio
async def test_runs_at_the_same_time_have_a_process_each_and_they_are_used_again(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        first = await asyncio.gather(*(node.run(seconds=0.3) for _ in range(4)))
        second = await asyncio.gather(*(node.run(seconds=0.3) for _ in range(4)))

        pids = [{output(finish)[0] for finish in finishes} for finishes in (first, second)]
        assert len(pids[0]) == 4
        assert pids[0] == pids[1]
        assert {finish.start_kind for finish in second} == {"warm"}


@pytest.mark.asyncio
async def test_failed_run_ends_its_process(tmp_path: Path) -> None:
    """What failed may be what it keeps: a connection that broke would fail each retry as well."""
    async with a_node(tmp_path) as node:
        first = await node.run()
        failed = await node.run(name="bad", fail=True)
        second = await node.run()

        assert (failed.outcome, failed.start_kind) == ("failed", "warm")
        assert output(second)[:2] != output(first)[:2]
        assert (output(second)[1], second.start_kind) == (1, "cold")
        assert not psutil.pid_exists(output(first)[0])


@pytest.mark.asyncio
@pytest.mark.parametrize(("reason", "outcome"), [("canceled", "canceled"), ("timed_out", "timed_out")])
async def test_stopped_run_ends_its_process(tmp_path: Path, reason: str, outcome: str) -> None:
    async with a_node(tmp_path) as node:
        first = await node.run()
        run, working = node.begin(name="long", seconds=600)
        await until(lambda: node.logs)
        run.stop(reason)
        await asyncio.wait_for(working, 30)
        second = await node.run()

        assert [finish.outcome for finish in node.finishes] == ["completed", outcome, "completed"]
        assert (node.finishes[1].start_kind, second.start_kind) == ("warm", "cold")
        assert not psutil.pid_exists(output(first)[0])


@pytest.mark.asyncio
async def test_max_duration_counts_for_a_later_run(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.run()
        node.reply = msgspec.structs.replace(
            node.reply, tasks={"t": msgspec.structs.replace(OPTIONS, max_duration_seconds=0.2)}
        )
        late = await node.run(seconds=600)

        assert (late.outcome, late.start_kind) == ("timed_out", "warm")


@pytest.mark.asyncio
async def test_stale_attempt_ends_its_process(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        node.is_stale = True
        await node.run()
        node.is_stale = False

        assert (await node.run()).start_kind == "cold"


@pytest.mark.asyncio
async def test_process_that_was_killed_while_it_waited_is_not_taken(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        first = await node.run()
        os.kill(output(first)[0], signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(output(first)[0]))
        second = await node.run()

        assert (second.outcome, second.start_kind) == ("completed", "cold")


@pytest.mark.asyncio
async def test_process_that_dies_before_it_has_read_its_run_costs_no_attempt(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        first = await node.run()
        pid = output(first)[0]
        os.kill(pid, signal.SIGSTOP)
        run, working = node.begin(name="again")
        await until(lambda: run.attempt.start_kind == "warm")
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(working, 30)

        finish = node.finishes[-1]
        assert (finish.outcome, finish.start_kind) == ("completed", "cold")
        assert output(finish)[1] == 1
        assert sorted(node.lines(finish)) == ["print again", "raw again"]


@pytest.mark.asyncio
async def test_process_that_dies_in_its_run_is_a_crash_and_the_run_is_not_repeated(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        first = await node.run()
        _, working = node.begin(name="dies", seconds=600)
        await until(lambda: node.logs)
        os.kill(output(first)[0], signal.SIGKILL)
        await asyncio.wait_for(working, 30)

        assert [finish.outcome for finish in node.finishes] == ["completed", "crashed"]


@pytest.mark.asyncio
async def test_later_run_resumes_and_says_where(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        await node.run()
        node.stored = [StoredCheckpoint("saved", 0, b'{"name":"kept"}', ["name"])]
        resumed = await node.run(name="again")

        assert (resumed.resumed_from, resumed.start_kind) == ("saved", "warm")
        assert output(resumed)[1] == 1, "what stands before the checkpoint did not run again"


@pytest.mark.asyncio
async def test_processes_that_wait_end_with_their_executor(tmp_path: Path) -> None:
    async with a_node(tmp_path) as node:
        finish = await node.run()

    await until(lambda: not psutil.pid_exists(output(finish)[0]))


@pytest.mark.asyncio
async def test_process_that_waits_too_long_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(warm, "SWEEP_SECONDS", 0.05)
    async with a_node(tmp_path) as node:
        finish = await node.run()

        await until(lambda: not psutil.pid_exists(output(finish)[0]))
        assert (await node.run()).start_kind == "cold"
