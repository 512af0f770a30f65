"""A kind of write of the test's own: its record and its `Kind` are all that it needs, from the worker to the table.

The notes below go the way of every kind: a real outbox, HTTP, the coordinator's application and its batch writer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import msgspec
import psycopg
import pytest
import uvicorn
from django.db import connection

from apps import protocol as wire
from apps.storage.statements import statement
from apps.workers.node.coordinator import Coordinator as Client
from apps.workers.node.outbox import Outbox
from tests.coordinator_harness import DEADLINE_SECONDS, TOKEN, Coordinator, a_coordinator, claimed_run, until
from trigger_site.coordinator.database import PATIENCE_SECONDS, Connection
from trigger_site.coordinator.kinds import KINDS
from trigger_site.coordinator.kinds.base import DONE, STALE, Kind

T = TypeVar("T")


# The kind: a record and its `WriteKind` as in `apps/protocol/writes.py` …


class Note(wire.AttemptWrite):
    text: str


NOTES = wire.WriteKind("notes", Note, lambda note: len(note.text))

# … and the coordinator's half, as a file of `trigger_site/coordinator/kinds/` holds it.

SAVE_NOTES = statement(__file__, "save_notes")


def refuse_empty(note: Note) -> wire.Result | None:
    return None if note.text else wire.Result(422, "invalid", "A note says something.")


async def write_notes(database: Connection, notes: Sequence[Note], *, waits: bool) -> list[wire.Result | None]:
    rows = await SAVE_NOTES.run_on(
        database,
        waits=waits,
        run_ids=[note.run_id for note in notes],
        tokens=[note.token for note in notes],
        texts=[note.text for note in notes],
    )
    return [None if row.is_held else STALE if row.is_stale else DONE for row in rows]


NOTE = Kind(NOTES, write_notes, refuse_empty)


@pytest.fixture
def coordinator(committed: str) -> Iterator[Coordinator]:
    """One that takes notes, as patient as in production."""
    with psycopg.connect(committed, autocommit=True) as session:
        session.execute("CREATE TABLE kind_note (run_id uuid, text text, PRIMARY KEY (run_id, text))")
    try:
        with a_coordinator(committed, PATIENCE_SECONDS, [*KINDS, NOTE]) as coordinator:
            coordinator.dispatch()
            yield coordinator
    finally:
        with psycopg.connect(committed, autocommit=True) as session:
            session.execute("DROP TABLE kind_note")


@contextmanager
def serving(coordinator: Coordinator) -> Iterator[str]:
    """The coordinator's application behind a real socket; its address."""
    config = uvicorn.Config(coordinator.api, port=0, lifespan="off", log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    ended = asyncio.run_coroutine_threadsafe(server.serve(), coordinator.loop)
    try:
        until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        ended.result(DEADLINE_SECONDS)


class Node:
    """A worker's outbox and client; `statuses` is what the coordinator has answered so far."""

    def __init__(self, url: str) -> None:
        self.client = Client(url, TOKEN)
        self.outbox = Outbox(self._write)
        self.statuses: list[int] = []

    async def submit(self, *notes: Note) -> list[wire.Result]:
        return await asyncio.gather(*(self.outbox.submit(NOTES, each) for each in notes))

    async def _write(self, kind: wire.WriteKind[Any], items: list[Any]) -> list[wire.Result]:
        results = await self.client.write(kind, items)
        self.statuses += [result.status for result in results]
        return results


def as_worker(coordinator: Coordinator, work: Callable[[Node], Awaitable[T]]) -> T:
    """Runs the work on a loop of its own, with a worker's outbox to the coordinator."""

    async def connected(url: str) -> T:
        node = Node(url)
        await node.client.open()
        try:
            return await asyncio.wait_for(work(node), DEADLINE_SECONDS)
        finally:
            await node.client.close()

    with serving(coordinator) as url:
        return asyncio.run(connected(url))


def notes_of(*claims: wire.Claim) -> list[tuple[str, str]]:
    """Text and transaction of each stored note."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT text, xmin::text FROM kind_note WHERE run_id = ANY(%s) ORDER BY text",
            [[claim.run_id for claim in claims]],
        )
        return list(cursor.fetchall())


def note(claim: wire.Claim, text: str) -> Note:
    return Note(claim.run_id, claim.token, text)


def test_items_reach_the_table_of_their_kind_and_share_commits(
    coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    neighbour = claimed_run(coordinator, worker_id)
    notes = [note(each, f"{number:02}") for each in (claim, neighbour) for number in range(40)]

    results = as_worker(coordinator, lambda node: node.submit(*notes))

    stored = notes_of(claim, neighbour)
    assert {result.status for result in results} == {200}
    assert sorted(text for text, _ in stored) == sorted(each.text for each in notes)
    assert len({transaction for _, transaction in stored}) < len(notes) / 10


def test_each_item_has_its_own_verdict(coordinator: Coordinator, claim: wire.Claim) -> None:
    items = [note(claim, "kept"), note(claim, ""), Note(claim.run_id, b"another", "stale"), note(claim, "kept")]

    results = as_worker(coordinator, lambda node: node.submit(*items))

    assert [result.status for result in results] == [200, 422, 409, 200]
    assert [text for text, _ in notes_of(claim)] == ["kept"]


def test_item_that_cannot_be_read_keeps_no_other_back(coordinator: Coordinator, claim: wire.Claim) -> None:
    unreadable = {"run_id": str(claim.run_id), "token": claim.token, "text": 7}
    body = msgspec.msgpack.encode({"items": [unreadable, note(claim, "read")]})

    status, answer = coordinator.request("POST", "notes", body).wait()

    results = wire.decode(answer, wire.Results).items
    assert (status, [result.status for result in results]) == (200, [422, 200])
    assert "text" in results[0].message
    assert [text for text, _ in notes_of(claim)] == ["read"]


def test_item_that_nul_makes_unstorable_fails_alone(coordinator: Coordinator, claim: wire.Claim) -> None:
    results = coordinator.post("notes", wire.Batch([note(claim, "a\x00b"), note(claim, "ab")]), wire.Results).items

    assert [result.status for result in results] == [422, 200]
    assert [text for text, _ in notes_of(claim)] == ["ab"]


def test_item_of_a_held_run_is_written_once_the_run_is_free(
    committed: str, coordinator: Coordinator, worker_id: UUID, claim: wire.Claim
) -> None:
    neighbour = claimed_run(coordinator, worker_id)

    async def send(node: Node) -> list[int]:
        with psycopg.connect(committed) as session:
            session.execute("SELECT 1 FROM runs_run WHERE id = %s FOR UPDATE", [claim.run_id])
            waiting = asyncio.create_task(node.submit(note(claim, "held"), note(neighbour, "free")))
            while node.statuses.count(503) < 2:  # asked for again, and still held
                assert not waiting.done()
                await asyncio.sleep(0.01)
            session.rollback()
        return [result.status for result in await waiting]

    assert as_worker(coordinator, send) == [200, 200]
    assert [text for text, _ in notes_of(claim, neighbour)] == ["free", "held"]
