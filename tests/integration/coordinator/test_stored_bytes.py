"""The sum of what a run has stored: exact whatever is saved at the same time, and bounded."""

import asyncio
from itertools import accumulate
from uuid import UUID

import psycopg
import pytest
from django.db import connection
from psycopg import errors

from apps import protocol as wire
from apps.checkpoints import store
from apps.checkpoints.models import Checkpoint
from tests.coordinator_harness import Coordinator, checkpoint_of, start_of

BATCHES = 15
STEPS = (1, 3, 6, 10)
"""Of each writer's batches: where two meet, the longer one could be saved in part."""


def step_of(claim: wire.Claim, key: str, size: int) -> wire.CheckpointItem:
    data = b'"' + b"x" * (size - 2) + b'"'
    return checkpoint_of(claim, key=key, data=data, binds=[], kind="step")


def totals(run_id: UUID) -> list[int | None]:
    return list(Checkpoint.objects.filter(run_id=run_id).order_by("index").values_list("stored_bytes", flat=True))


def exact_totals(run_id: UUID) -> list[int]:
    rows = Checkpoint.objects.filter(run_id=run_id).order_by("index")
    return list(accumulate(rows.values_list("size_bytes", flat=True)))


def test_each_entry_knows_the_sum_up_to_it(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.save(step_of(claim, "a", 10))
    coordinator.save(step_of(claim, "b", 20), step_of(claim, "b", 20), step_of(claim, "c", 30), step_of(claim, "a", 10))
    coordinator.save(checkpoint_of(claim, key="d", data=b'{"a":1}', carried=b'{"b":2}'))

    assert totals(claim.run_id) == [10, 30, 60, 74]


def test_entries_older_than_the_count_are_counted_at_the_next_save(coordinator: Coordinator, claim: wire.Claim) -> None:
    coordinator.save(step_of(claim, "a", 10), step_of(claim, "b", 20))
    Checkpoint.objects.filter(run_id=claim.run_id).update(stored_bytes=None)

    coordinator.save(step_of(claim, "c", 30))
    coordinator.save(step_of(claim, "d", 40))

    assert totals(claim.run_id) == [None, None, 60, 100]


def test_what_goes_over_the_limit_is_refused_by_name_and_saves_nothing(
    coordinator: Coordinator, claim: wire.Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "STORED_MAX_BYTES", 100)
    coordinator.starts(start_of(claim))

    first, over = coordinator.save(step_of(claim, "a", 60), step_of(claim, "b", 41))
    (again,) = coordinator.save(step_of(claim, "a", 60))
    (fits,) = coordinator.save(step_of(claim, "c", 40))

    assert (first.status, again.status, fits.status) == (200, 200, 200)
    assert (over.status, over.code) == (422, "limit")
    assert "256,000,000 bytes" in over.message
    assert totals(claim.run_id) == [60, 100]


def test_sum_is_exact_under_concurrent_saves(coordinator: Coordinator, claim: wire.Claim) -> None:
    async def write(number: int) -> None:
        database = await psycopg.AsyncConnection.connect(dsn())
        async with database:
            for batch in range(BATCHES):
                left = [new(f"{number}-{batch}-{step}", 10 + number + step) for step in range(STEPS[number])]
                async with asyncio.timeout(60):
                    while left:
                        left = await save(database, left)

    def new(key: str, size: int) -> wire.CheckpointItem:
        return wire.CheckpointItem(claim.run_id, claim.token, key, b"1" * size, [], None, kind="step")

    async def save(
        database: "psycopg.AsyncConnection[object]", items: list[wire.CheckpointItem]
    ) -> list[wire.CheckpointItem]:
        try:
            async with database.transaction():
                verdicts = await store.save(database, items, waits=True)
        except errors.DivisionByZero:  # the writers of the coordinator send them one by one then
            verdicts = []
            for item in items:
                async with database.transaction():
                    verdicts += await store.save(database, [item], waits=True)
        return [item for item, verdict in zip(items, verdicts, strict=True) if verdict is None]

    async def write_all() -> None:
        await asyncio.gather(*(write(number) for number in range(len(STEPS))))

    asyncio.run(write_all())

    assert len(totals(claim.run_id)) == BATCHES * sum(STEPS)
    assert totals(claim.run_id) == exact_totals(claim.run_id)


def dsn() -> str:
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    return psycopg.conninfo.make_conninfo(**{name: value for name, value in parameters.items() if name in names})
