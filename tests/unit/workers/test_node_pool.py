"""The pool of places whose process waits: who gets one, how many may wait, and for how long."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from apps.workers.node.executors.base import PoolKey, RunPlace
from apps.workers.node.executors.pool import WarmPool
from apps.workers.node.hosts.host import Host
from tests.unit.workers.test_node_warm import until


class IdleHost(Host):
    """A host all of whose processes wait, but those that a test has named."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, isolation="none")
        self.gone: set[str] = set()

    def has_idle(self, ticket: str) -> bool:
        return ticket not in self.gone


class Pool:
    def __init__(self, folder: Path) -> None:
        self.host = IdleHost(folder)
        self.ended: list[str] = []
        self.pool = WarmPool(self.end)

    async def end(self, place: RunPlace) -> None:
        self.ended.append(place.ticket)

    def put(self, ticket: str, key: PoolKey, *, is_reusable: bool = True) -> bool:
        return self.pool.put(RunPlace(self.host, "c", "cold", pool_key=key, ticket=ticket, is_reusable=is_reusable))

    def surplus(self, seconds: float) -> list[str]:
        now = asyncio.get_running_loop().time()
        return [place.ticket for place in self.pool.surplus(now + seconds)]


DEPLOYMENT = uuid4()


def key(task: str = "t", memory_bytes: int = 1) -> PoolKey:
    return (DEPLOYMENT, task, memory_bytes)


@pytest.mark.asyncio
async def test_last_used_process_goes_first_and_only_to_its_own_task(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    for ticket in "abc":
        assert pool.put(ticket, key())
    pool.host.gone.add("c")

    assert pool.pool.take(key("other")) is None
    assert pool.pool.take(key(memory_bytes=2)) is None
    taken = pool.pool.take(key())
    await until(lambda: pool.ended)

    assert taken is not None
    assert (taken.ticket, taken.start_kind, taken.is_warm, taken.is_reusable) == ("b", "warm", True, False)
    assert pool.ended == ["c"]
    assert len(pool.pool) == 1


@pytest.mark.asyncio
async def test_what_is_not_reusable_does_not_wait(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    pool.host.gone.add("gone")

    assert not pool.put("a", key(), is_reusable=False)
    assert not pool.put("gone", key())
    assert not pool.pool.put(RunPlace(pool.host, "c", "cold", ticket="b", is_reusable=True))


@pytest.mark.asyncio
async def test_five_of_a_task_and_fifty_of_a_node_may_wait_and_the_oldest_leave(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    for number in range(8):
        pool.put(f"t{number}", key(memory_bytes=number % 2))
    assert pool.surplus(0.5) == [], "between two runs under load nobody counts"
    assert pool.surplus(2) == ["t0", "t1", "t2"]

    for number in range(60):
        pool.put(f"n{number}", key(f"task {number}"))

    assert pool.surplus(2) == ["t0", "t1", "t2", *[f"t{n}" for n in range(3, 8)], *[f"n{n}" for n in range(10)]]


@pytest.mark.asyncio
async def test_nobody_waits_longer_than_a_minute(tmp_path: Path) -> None:
    pool = Pool(tmp_path)
    pool.put("a", key())

    assert pool.surplus(59) == []
    assert pool.surplus(61) == ["a"]
