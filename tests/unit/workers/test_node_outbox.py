"""Senders batch, repeat until they have an answer, and give up what nobody waits for any more."""

import asyncio
from uuid import uuid4

import pytest

from apps.protocol import BATCH_MAX_ITEMS, Claim, LogBatch, Result, encode
from apps.workers.node import outbox
from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.attempts.logs import LogBuffer
from apps.workers.node.coordinator import CallRefusedError, DatabaseUnavailableError, UnreachableError
from apps.workers.node.outbox import Sender
from tests.unit.workers.outboxes import outbox_to

OK = Result(200)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "BACKOFF_SECONDS", (0.001, 0.002))
    monkeypatch.setattr(outbox, "HELD_SECONDS", (0.001, 0.002))


class Recorder:
    """The other side: raises what it is told to, then answers each item with its own name."""

    def __init__(self, *failures: Exception) -> None:
        self.batches: list[list[str]] = []
        self.failures = list(failures)
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, items: list[str]) -> list[Result]:
        self.batches.append(list(items))
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return [Result(200, message=item) for item in items]

    def sender(self, size: int = 1, coalesce_seconds: float = 0.0) -> "Sender[str]":
        return Sender("test", self.send, lambda _: size, coalesce_seconds=coalesce_seconds)


async def together(sender: "Sender[str]", names: list[str]) -> list[Result]:
    return await asyncio.gather(*[sender.submit(name) for name in names])


@pytest.mark.asyncio
async def test_idle_sender_sends_at_once_and_batches_what_comes_meanwhile() -> None:
    other = Recorder()
    other.gate.clear()
    sender = other.sender()

    first = asyncio.create_task(sender.submit("a"))
    while not other.batches:
        await asyncio.sleep(0)
    rest = asyncio.create_task(together(sender, ["b", "c"]))
    await asyncio.sleep(0)
    other.gate.set()

    assert [result.message for result in (await first, *await rest)] == ["a", "b", "c"]
    assert other.batches == [["a"], ["b", "c"]]


@pytest.mark.asyncio
async def test_batch_is_bounded_by_items_and_by_bytes() -> None:
    names = [str(number) for number in range(BATCH_MAX_ITEMS + 1)]
    many, large = Recorder(), Recorder()

    await together(many.sender(), names)
    await together(large.sender(size=3_000_000), ["a", "b", "c"])

    assert [len(batch) for batch in many.batches] == [BATCH_MAX_ITEMS, 1]
    assert large.batches == [["a", "b"], ["c"]]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "failure",
    [UnreachableError("gone"), DatabaseUnavailableError("away"), CallRefusedError(500, "internal-error", "oops")],
)
async def test_unanswered_batch_is_repeated(failure: Exception) -> None:
    other = Recorder(failure, failure)

    results = await together(other.sender(), ["a", "b"])

    assert [result.message for result in results] == ["a", "b"]
    assert other.batches == [["a", "b"]] * 3


@pytest.mark.asyncio
async def test_refused_batch_is_not_repeated() -> None:
    other = Recorder(CallRefusedError(401, "worker-token-wrong", "no"))

    results = await together(other.sender(), ["a", "b"])

    assert [(result.status, result.code) for result in results] == [(401, "worker-token-wrong")] * 2
    assert len(other.batches) == 1


@pytest.mark.asyncio
async def test_sender_gives_up_what_was_canceled_and_goes_on() -> None:
    other = Recorder(*[UnreachableError("gone")] * 3)
    sender = other.sender()
    given_up = asyncio.create_task(sender.submit("a"))
    while not other.batches:
        await asyncio.sleep(0)

    given_up.cancel()
    result = await sender.submit("b")

    assert result.message == "b"
    assert given_up.cancelled()
    assert len(other.batches) <= 5


@pytest.mark.asyncio
async def test_item_that_cannot_be_encoded_fails_alone() -> None:
    async def send(items: list[str]) -> list[Result]:
        encode(items)
        return [OK for _ in items]

    results = await together(Sender("test", send, len), ["a", "\ud800", "b"])

    assert [result.status for result in results] == [200, 422, 200]


@pytest.mark.asyncio
async def test_answer_with_another_number_of_results_hangs_nobody() -> None:
    async def send(_: list[str]) -> list[Result]:
        return [OK]

    results = await asyncio.wait_for(together(Sender("test", send, len), ["a", "b", "c"]), 60)

    assert {result.status for result in results} <= {200, 500}
    assert 500 in {result.status for result in results}


class Sink:
    def __init__(self) -> None:
        self.batches: list[LogBatch] = []
        claim = Claim(uuid4(), "run_1", 2, b"t", "t", uuid4(), b"{}", 3)
        self.buffer = LogBuffer(Attempt(claim), outbox_to(logs=self.send))

    async def send(self, items: list[LogBatch]) -> list[Result]:
        encode(items)
        self.batches += items
        return [OK for _ in items]

    @property
    def lines(self) -> list[tuple[int, str]]:
        return [(line.sequence, line.message) for batch in self.batches for line in batch.lines]


@pytest.mark.asyncio
async def test_under_load_a_batch_waits_for_more_and_alone_none_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LOADED_SECONDS", 60.0)
    other = Recorder()
    sender = other.sender(coalesce_seconds=0.2)

    await sender.submit("alone")
    await sender.submit("alone again")
    await together(sender, ["two", "at once"])
    third = asyncio.create_task(sender.submit("third"))
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.gather(third, sender.submit("soon behind it"))

    assert other.batches == [["alone"], ["alone again"], ["two", "at once"], ["third", "soon behind it"]]


@pytest.mark.asyncio
async def test_item_that_is_held_waits_alone() -> None:
    """Others hold its row: what comes after it is sent and answered meanwhile, and it is asked again until it is
    judged."""
    held = True
    batches: list[list[str]] = []

    async def send(items: list[str]) -> list[Result]:
        batches.append(list(items))
        return [Result(503, "busy") if item == "a" and held else Result(200, message=item) for item in items]

    sender = Sender("test", send, lambda _: 1)
    waiting = asyncio.create_task(sender.submit("a"))
    assert [result.message for result in await together(sender, ["b", "c"])] == ["b", "c"]
    assert (await sender.submit("d")).message == "d"
    while batches.count(["a"]) < 3:
        await asyncio.sleep(0)
    assert not waiting.done()
    held = False

    assert (await waiting).message == "a"
    assert all("a" not in batch or batch == ["a"] for batch in batches[1:])


@pytest.mark.asyncio
async def test_held_item_that_nobody_waits_for_is_given_up() -> None:
    sent = 0

    async def send(items: list[str]) -> list[Result]:
        nonlocal sent
        sent += 1
        return [Result(503, "busy")]

    sender = Sender("test", send, lambda _: 1)
    waiting = asyncio.create_task(sender.submit("a"))
    while sent < 2:
        await asyncio.sleep(0)
    waiting.cancel()
    while sender._insisting:
        await asyncio.sleep(0)

    assert waiting.cancelled() or waiting.done()
