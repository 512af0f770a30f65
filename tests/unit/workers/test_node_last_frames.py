"""The outcome of a task that ends while its steps are still being stored or loaded, with a real agent and socket."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from apps.protocol import Claim, DeploymentReply, Finish, Result, StoredCheckpoint, StoredCheckpoints
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.hosts.roles import IN_FLIGHT_MAX
from apps.workers.node.variables import VariableSource
from tests.unit.workers.outboxes import outbox_to
from tests.unit.workers.test_node_process_executor import deployment, opened

COUNT = IN_FLIGHT_MAX + 8
SOURCE = f"""
import asyncio
from trigger_sdk import step, task

async def page(number):
    return "x"

async def fail():
    # The saves of all pages are under way after this.
    await asyncio.sleep(0.2)
    raise ValueError("the last page is bad")

def pages():
    return [asyncio.ensure_future(step(f"page-{{number}}", page, number)) for number in range({COUNT})]

@task(id="fails")
async def fails():
    await asyncio.gather(*pages(), step("fail", fail))

@task(id="returns")
async def returns():
    started = pages()
    await asyncio.sleep(0.2)
    return len(started)
"""


class Store:
    """A coordinator that takes half a second for each write, and whose stored results are large."""

    def __init__(self, stored: list[StoredCheckpoint]) -> None:
        self.reply = deployment(SOURCE)
        self.stored = stored
        self.finishes: list[Finish] = []

    async def get(self, _: Any) -> DeploymentReply:
        return self.reply

    async def save(self, items: list[Any]) -> list[Result]:
        await asyncio.sleep(0.5)
        return [Result(200) for _ in items]

    async def finish(self, items: list[Finish]) -> list[Result]:
        self.finishes += items
        return [Result(200) for _ in items]

    async def checkpoints(self, *_: Any) -> StoredCheckpoints:
        return StoredCheckpoints(self.stored)

    async def data(self, *_: Any) -> bytes:
        return b'"' + b"x" * 2_000_000 + b'"'


async def finish_of(folder: Path, task: str, stored: list[StoredCheckpoint]) -> Finish:
    store = Store(stored)

    async with opened(folder) as executor:
        tools = Tools(
            deployments=store,  # type: ignore[arg-type]
            variables=VariableSource(store),  # type: ignore[arg-type]
            executor=executor,
            outbox=outbox_to(starts=store.save, checkpoints=store.save, logs=store.save, finishes=store.finish),
            load_checkpoints=store.checkpoints, load_data=store.data,
        )  # fmt: skip
        claim = Claim(uuid4(), "run_1", 1, b"token", task, uuid4(), b"{}", 3, has_checkpoints=bool(stored))
        await asyncio.wait_for(AttemptRun(Attempt(claim), tools).run(), 60)
    (finish,) = store.finishes
    return finish


@pytest.mark.asyncio
async def test_failure_is_heard_behind_more_saves_than_may_be_in_flight(tmp_path: Path) -> None:
    finish = await finish_of(tmp_path, "fails", [])

    assert (finish.outcome, (finish.error or {})["message"]) == ("failed", "the last page is bad")


@pytest.mark.asyncio
async def test_output_is_heard_behind_them_too(tmp_path: Path) -> None:
    finish = await finish_of(tmp_path, "returns", [])

    assert (finish.outcome, finish.output) == ("completed", b"%d" % COUNT)


@pytest.mark.asyncio
async def test_failure_is_heard_behind_large_results_that_nobody_waits_for(tmp_path: Path) -> None:
    stored = [StoredCheckpoint(f"page-{number}", number, None, kind="step") for number in range(20)]

    finish = await finish_of(tmp_path, "fails", stored)

    assert (finish.outcome, (finish.error or {})["message"]) == ("failed", "the last page is bad")
