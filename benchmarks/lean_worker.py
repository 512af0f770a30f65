"""`python -m benchmarks.lean_worker URL --runs N`: plays workers that run no code, as fast as a coordinator lets them.

Claims by polls and completes by finishes, over plain sockets; the next poll is open while the finishes of the previous
one are written. Prints JSON: completed, seconds (first poll sent to last finish acknowledged), cpu_seconds,
tail_per_second (the rate in the last ten seconds). The coordinator's token comes on standard input, so that no list of
processes shows it.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import msgspec
import uvloop

from apps import protocol as wire

STALL_SECONDS = 25.0
"""Longer than a poll is held: a longer wait means a lost connection."""
TAIL_SECONDS = 10.0


class Taken(msgspec.Struct):
    """What a finish needs of a claim; ids stay the text they arrive as."""

    run_id: str
    token: bytes


class Answer(msgspec.Struct):
    claims: list[Taken] = []


class Done(msgspec.Struct):
    run_id: str
    token: bytes
    outcome: str = "completed"
    output: bytes = b"null"
    container: str = "lean"
    start_kind: str = "warm"
    running_seconds: float = 0.001


class DoneBatch(msgspec.Struct):
    items: list[Done]


@dataclass(slots=True)
class Shape:
    """How the workers ask: `capacity` of a poll, runs per finish, and how many finishes may be in progress at once."""

    workers: int
    capacity: int
    batch: int
    writers: int


@dataclass(slots=True)
class Tally:
    """What all workers together have done, and when they stop claiming."""

    wanted: int
    deadline: float
    claimed: int = 0
    completed: int = 0
    ended_at: float = 0.0
    moments: list[tuple[float, int]] = field(default_factory=list)
    """When a finish was acknowledged, and how many runs it completed."""
    errors: list[str] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        return self.claimed >= self.wanted or time.monotonic() >= self.deadline


class Connection:
    """One keep-alive connection; one request at a time."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._head = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/msgpack\r\n"

    async def __aenter__(self) -> "Connection":
        self._reader, self._writer = await asyncio.open_connection(*self._address)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, path: str, message: msgspec.Struct) -> bytes:
        """Posts a message; returns the answer's body, raises RuntimeError for anything but 200."""
        body = wire.encode(message)
        head = f"POST /coordinator/v1/{path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = answer.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        raw = await self._reader.readexactly(int(length))
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"{path}: {answer[:40]!r} {raw[:300]!r}")
        return raw


async def play(url: str, token: str, shape: Shape, tally: Tally) -> None:
    """Plays one worker: a connection for its polls, `writers` connections for its finishes."""
    worker_id = uuid4()
    finishes: asyncio.Queue[list[Taken] | None] = asyncio.Queue(maxsize=shape.writers)
    async with Connection(url, token) as connection:
        registration = wire.Registration(worker_id, "lean", "process", shape.capacity, wire.PROTOCOL_VERSION)
        await connection.post("workers", registration)
        async with asyncio.TaskGroup() as group:
            for _ in range(shape.writers):
                group.create_task(_write(url, token, finishes, tally))
            await _claim(connection, worker_id, shape, finishes, tally)
            for _ in range(shape.writers):
                await finishes.put(None)
        # Only now: a worker that says it stops loses what it still holds.
        await connection.post("heartbeats", wire.Heartbeat(worker_id, [], is_stopping=True))


async def _claim(
    connection: Connection,
    worker_id: UUID,
    shape: Shape,
    finishes: "asyncio.Queue[list[Taken] | None]",
    tally: Tally,
) -> None:
    decoder = msgspec.msgpack.Decoder(Answer)
    while not tally.is_enough:
        poll = wire.Poll(worker_id, uuid4(), min(shape.capacity, tally.wanted - tally.claimed))
        tally.claimed += poll.capacity
        async with asyncio.timeout(STALL_SECONDS):
            claims = decoder.decode(await connection.post("polls", poll)).claims
        tally.claimed -= poll.capacity - len(claims)
        for start in range(0, len(claims), shape.batch):
            await finishes.put(claims[start : start + shape.batch])


async def _write(url: str, token: str, finishes: "asyncio.Queue[list[Taken] | None]", tally: Tally) -> None:
    decoder = msgspec.msgpack.Decoder(wire.Results)
    async with Connection(url, token) as connection:
        while (batch := await finishes.get()) is not None:
            message = DoneBatch([Done(taken.run_id, taken.token) for taken in batch])
            results = decoder.decode(await connection.post("finishes", message)).items
            refused = [f"{result.status} {result.code}" for result in results if result.status != HTTPStatus.OK]
            tally.errors += refused
            tally.completed += len(results) - len(refused)
            tally.ended_at = time.monotonic()
            tally.moments.append((tally.ended_at, len(results) - len(refused)))


async def drain(url: str, token: str, shape: Shape, *, runs: int, seconds: float) -> dict[str, Any]:
    """Claims and completes until that many runs are claimed or the time is up; raises if a finish was refused."""
    began_at, spent = time.monotonic(), time.process_time()
    tally = Tally(runs, began_at + seconds)
    async with asyncio.TaskGroup() as group:
        for _ in range(shape.workers):
            group.create_task(play(url, token, shape, tally))
    if tally.errors:
        raise RuntimeError(f"{len(tally.errors)} finishes were refused, the first with {tally.errors[0]}")
    return {
        "completed": tally.completed,
        "seconds": tally.ended_at - began_at,
        "cpu_seconds": time.process_time() - spent,
        "tail_per_second": _tail_rate(tally),
    }


def _tail_rate(tally: Tally) -> float:
    """Returns runs per second in the last TAIL_SECONDS, or since the first answer."""
    since = max(tally.ended_at - TAIL_SECONDS, tally.moments[0][0]) if tally.moments else 0.0
    later = [count for at, count in tally.moments if at > since]
    return sum(later) / (tally.ended_at - since) if later else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lean_worker", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop claiming after this many seconds")
    for name in ("workers", "capacity", "batch", "writers"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    shape = Shape(given.workers, given.capacity, given.batch, given.writers)
    token = sys.stdin.read().strip()
    print(json.dumps(uvloop.run(drain(given.url, token, shape, runs=given.runs, seconds=given.seconds))))


if __name__ == "__main__":
    main()
