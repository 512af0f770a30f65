"""One attempt from its claim to its finish: whatever goes wrong on the node, it ends with a verdict and gives back."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from trigger_sdk.wire import Frame

from apps.protocol import Claim, DeploymentReply, Finish, Result, TaskOptions
from apps.workers.node.attempts import reads
from apps.workers.node.attempts import run as runs
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.run import AttemptRun
from apps.workers.node.attempts.tools import Tools
from apps.workers.node.coordinator import UnreachableError
from apps.workers.node.deployments import Deployments
from apps.workers.node.executors.base import RunPlace, StartFailedError
from apps.workers.node.hosts.ends import ProcessEnd
from apps.workers.node.hosts.host import Host
from apps.workers.node.variables import VariableSource
from tests.unit.workers.outboxes import outbox_to


class Node:
    """Coordinator and executor in one: notes finishes and gives a host without an agent."""

    name = note = "test"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.finishes: list[Finish] = []
        self.released: list[RunPlace] = []
        self.stops: list[str] = []
        self.is_deaf = False
        self.absences = 0
        """So many times nobody answers who asks for a deployment."""

    async def deployment(self, deployment_id: Any) -> DeploymentReply:
        if self.absences:
            self.absences -= 1
            raise UnreachableError("no coordinator")
        return DeploymentReply(deployment_id, "set", 1, "folder", b"hash", {"t": TaskOptions()})

    async def acquire(self, *_: Any) -> RunPlace:
        if self.error is not None:
            raise self.error
        return RunPlace(StubHost(self), "c1", "cold")

    async def release(self, place: RunPlace) -> None:
        self.released.append(place)

    async def finish(self, items: list[Finish]) -> list[Result]:
        self.finishes += items
        return [Result(200) for _ in items]

    async def other(self, items: list[Any]) -> list[Result]:
        return [Result(200) for _ in items]

    def run(self) -> AttemptRun:
        tools = Tools(
            deployments=Deployments(self),  # type: ignore[arg-type]
            variables=VariableSource(self),  # type: ignore[arg-type]
            executor=self,  # type: ignore[arg-type]
            outbox=outbox_to(starts=self.other, checkpoints=self.other, logs=self.other, finishes=self.finish),
            load_checkpoints=self.other, load_data=self.other,
        )  # fmt: skip
        return AttemptRun(Attempt(Claim(uuid4(), "run_1", 1, b"token", "t", uuid4(), b"{}", 3)), tools)


class StubHost(Host):
    """A host whose agent the test itself plays."""

    def __init__(self, node: Node) -> None:
        super().__init__(Path(), isolation="none")
        self._node = node

    def run(self, run_id: str, folder: str | None, listener: Any, *, is_kept: bool = False) -> str:
        self._listener = listener
        return "ticket"

    def stop(self, ticket: str, reason: str, grace_seconds: float) -> None:
        self._node.stops.append(reason)
        if not self._node.is_deaf:
            self._listener.ended(ProcessEnd(signal=9))


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("State"), RuntimeError("odd")])
async def test_an_error_nobody_foresaw_is_a_start_that_failed(error: Exception) -> None:
    node = Node(error)

    await asyncio.wait_for(node.run().run(), 60)

    (finish,) = node.finishes
    assert finish.outcome == "start_failed"
    assert type(error).__name__ in (finish.error or {})["message"]


@pytest.mark.asyncio
async def test_place_is_given_back_whatever_the_process_said() -> None:
    node = Node()
    run = node.run()
    working = asyncio.create_task(run.run())
    while not run._ticket:
        await asyncio.sleep(0)

    run.frame(None, Frame("failed", {"error": {"type": "E"}, "retry_after_seconds": 10**400}))  # type: ignore[arg-type]
    run.ended(ProcessEnd(exit_code=1))
    await asyncio.wait_for(working, 60)

    assert [(finish.outcome, finish.retry_after_seconds) for finish in node.finishes] == [("failed", None)]
    assert len(node.released) == 1


@pytest.mark.asyncio
@pytest.mark.parametrize("is_deaf", [False, True], ids=["killed", "agent-never-heard-of-it"])
async def test_process_that_never_begins_is_a_start_that_failed(
    monkeypatch: pytest.MonkeyPatch, *, is_deaf: bool
) -> None:
    """As `released` it would be claimed again at once and for ever."""
    monkeypatch.setattr(runs, "CHILD_CONNECT_SECONDS", 0.01)
    monkeypatch.setattr(runs, "STOP_GRACE_SECONDS", 0.01)
    node = Node()
    node.is_deaf = is_deaf

    await asyncio.wait_for(node.run().run(), 60)

    assert [finish.outcome for finish in node.finishes] == ["start_failed"]
    assert len(node.released) == 1


@pytest.mark.asyncio
async def test_process_that_could_not_be_forked_is_a_start_that_failed() -> None:
    node = Node()
    run = node.run()
    working = asyncio.create_task(run.run())
    while not run._ticket:
        await asyncio.sleep(0)

    run.ended(ProcessEnd(note="no process could be started: EAGAIN", is_unstarted=True))
    await asyncio.wait_for(working, 60)

    assert [finish.outcome for finish in node.finishes] == ["start_failed"]
    assert "EAGAIN" in (node.finishes[0].error or {})["message"]


@pytest.mark.asyncio
async def test_deployment_is_asked_for_again_while_no_coordinator_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "BACKOFF_SECONDS", (0.001, 0.001))
    node = Node(StartFailedError("as far as a host"))
    node.absences = 3

    await node.run().run()

    assert node.absences == 0
    assert [finish.error["message"] for finish in node.finishes if finish.error] == ["as far as a host"]


@pytest.mark.asyncio
async def test_attempt_whose_lease_has_ended_asks_for_no_deployment_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads, "BACKOFF_SECONDS", (0.001, 0.001))
    node = Node()
    node.absences = 1000
    run = node.run()
    run.stop("stale", 0.0)

    with pytest.raises(UnreachableError):
        await run.run()

    assert (node.absences, node.finishes) == (999, [])


@pytest.mark.asyncio
@pytest.mark.parametrize(("reason", "told"), [("stale", []), ("expired", ["lost"])])
async def test_attempt_that_may_have_been_given_away_is_told_as_lost(reason: str, told: list[str]) -> None:
    """Its coordinators were away for longer than its lease: a worker that ends it by itself says so when one is back,
    or the run would wait for a lease that nobody renews. Of one that was given away already there is nothing to say."""
    node = Node()
    run = node.run()
    working = asyncio.create_task(run.run())
    while not run._ticket:
        await asyncio.sleep(0)

    run.stop(reason, 0.0)
    run.ended(ProcessEnd(signal=9))
    await asyncio.wait_for(working, 60)

    assert [finish.outcome for finish in node.finishes] == told
    assert all((finish.error or {})["type"] == "LeaseEnded" for finish in node.finishes)
