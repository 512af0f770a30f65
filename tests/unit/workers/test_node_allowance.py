"""A connection's share of the worker's loop: turns, rate and bounds, told by what was heard and never by times."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from trigger_sdk.wire import BODY_MAX_BYTES, Frame, encode_frame

from apps.workers.node.hosts.allowance import TURN_UNITS, Allowance, cost_of
from apps.workers.node.hosts.roles import IN_FLIGHT_MAX, IN_FLIGHT_MAX_BYTES, ChildConnection
from tests.unit.workers.host_peers import Listener, Peer, a_host, agent_of, connect, ticket_of

LINE = encode_frame("log", message="x")


def test_allowance_is_used_up_and_fills_with_time_to_its_burst() -> None:
    now = 100.0
    allowance = Allowance(per_second=10.0, burst=20.0, clock=lambda: now)

    allowance.spend(20.0)
    waits = [allowance.wait_seconds()]
    now += TURN_UNITS / 10
    waits.append(allowance.wait_seconds())
    now += 1000.0
    allowance.spend(21.0)
    waits.append(allowance.wait_seconds())

    assert waits == [TURN_UNITS / 10, 0.0, (TURN_UNITS + 1) / 10]


def test_large_header_costs_more_than_a_large_body_and_both_more_than_a_line() -> None:
    line, header, body = (
        cost_of(frame)
        for frame in (
            Frame("log", {}, header_bytes=80),
            Frame("log", {}, header_bytes=10**6),
            Frame("log", {}, bytes(10**6)),
        )
    )

    assert line < 2 < body < header


@asynccontextmanager
async def a_child(folder: Path, listener: Listener) -> AsyncIterator[Peer]:
    async with a_host(folder) as host:
        agent = await agent_of(folder)
        await agent.receive()
        host.run("run_1", None, listener)
        child = await connect(folder)
        child.send("ticket", ticket=await ticket_of(agent))
        assert await child.receive() is not None
        yield child


async def until_heard(listener: Listener, count: int) -> None:
    async with asyncio.timeout(30):
        while len(listener.frames) < count:
            await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_others_have_their_turn_before_all_of_a_flood_is_heard(tmp_path: Path) -> None:
    class Flooded(Listener):
        heard_before_others: int | None = None

        def frame(self, child: ChildConnection, frame: Frame) -> None:
            super().frame(child, frame)
            if self.heard_before_others is None:
                asyncio.get_running_loop().call_soon(self._others)
                self.heard_before_others = 0

        def _others(self) -> None:
            self.heard_before_others = len(self.frames)

    listener = Flooded()
    async with a_child(tmp_path, listener) as child:
        child._writer.write(LINE * 2000)
        await until_heard(listener, 2000)

    assert 0 < (listener.heard_before_others or 0) <= TURN_UNITS + 1


@pytest.mark.asyncio
async def test_a_burst_over_the_allowance_waits_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    listener = Listener()
    async with a_child(tmp_path, listener) as child:
        for number in range(6000):
            child.send("log", message=str(number))
        await until_heard(listener, 6000)

    assert [frame.header["message"] for frame in listener.frames] == [str(number) for number in range(6000)]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("size", "most"), [(0, IN_FLIGHT_MAX), (4_000_000, -(-IN_FLIGHT_MAX_BYTES // 4_000_000))], ids=["frames", "bytes"]
)
async def test_no_more_is_heard_than_may_wait_for_answers(tmp_path: Path, size: int, most: int) -> None:
    """Also of what has arrived in one piece."""

    class Answering(Listener):
        def frame(self, child: ChildConnection, frame: Frame) -> None:
            super().frame(child, frame)
            child.begin_answer(size)

    listener = Answering()
    async with a_child(tmp_path, listener) as child:
        child._writer.write(LINE * (most + 2))
        await until_heard(listener, most)
        for _ in range(100):
            await asyncio.sleep(0)
        held = len(listener.frames)
        for _ in range(2):
            listener.children[0].end_answer(size)
        await until_heard(listener, most + 2)

    assert held == most


@pytest.mark.asyncio
async def test_frame_over_the_limit_ends_its_connection_and_says_why(tmp_path: Path) -> None:
    listener = Listener()
    async with a_child(tmp_path, listener) as child:
        child._writer.write(LINE + (BODY_MAX_BYTES + 1).to_bytes(4) * 2)
        assert await child.receive() is None

    assert len(listener.frames) == 1
    assert "over the limit" in listener.breaches[0]
