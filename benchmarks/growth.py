"""Measures the engine's rate with full tables, many runs held back by a limit, or vacuum held back by a snapshot.

Each is a ratio to the rate on empty tables in the same run; the empty ones are measured in between, because a shared
machine drifts.
"""

import http.client
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg

from apps import protocol as wire
from benchmarks import engine, filling
from benchmarks.engine import Drain
from benchmarks.engine_site import Engine, running_engine
from benchmarks.measures import Row

RUNS = 20_000
REPETITIONS = 3
FINISHED = 1_000_000
PENDING = 200_000
BLOCKED = 100_000
KEY = "flood"
SNAPSHOT_SECONDS = 60.0
HEADROOM = 1.3
"""How many times as many runs as the rate on empty tables would take in the snapshot's time."""

Reply = TypeVar("Reply", bound=wire.Message)


def growth() -> list[Row]:
    """Measures three states of the tables, and empty ones before, between and after them."""
    rows: list[Row] = []
    with running_engine() as site:
        engine.warm_up(site)
        before = _empty(site)
        for measure in GOALS:
            measured = measure(site, before)
            after = _empty(site)
            rows += measured_rows(measure, measured, before + after)
            before = after
    return rows


def measured_rows(
    measure: Callable[[Engine, list[Drain]], list[Drain]], drains: list[Drain], empty: list[Drain]
) -> list[Row]:
    """Returns the ratio with its two rates; for the snapshot also the ratio at its end, when most has piled up."""
    name, goal = GOALS[measure]
    base, middle = engine.median(empty), engine.median(drains)
    rates = " / ".join(f"{each.rate:,.0f}" for each in drains)
    around = (
        f"{rates} runs/s against {base.rate:,.0f}; CPU µs per run: {middle.cpu}, against {base.cpu}; {engine.machine()}"
    )
    rows = [Row(f"engine with {name}, of the empty one", middle.rate / base.rate * 100, "%", goal, around)]
    if measure is _held:
        tail = f"{middle.tail_rate:,.0f} runs/s"
        rows.append(Row("… in the last 10 s of them", middle.tail_rate / base.rate * 100, "%", goal, tail))
    return rows


def _empty(site: Engine) -> list[Drain]:
    return [engine.measure_drain(site, RUNS) for _ in range(REPETITIONS)]


def _full(site: Engine, _before: list[Drain]) -> list[Drain]:
    """Fills the tables; the finished runs are copies of one that went all the way."""
    engine.measure_drain(site, 1)
    with site.connect() as database:
        finished = filling.one_id(database, "SELECT id FROM runs_run WHERE state = 'completed'")
        filling.copy_runs(database, finished, FINISHED, is_finished=True)
        filling.copy_runs(database, filling.trigger_one(site, "noop"), PENDING - 1)
        filling.settle(database)
    return [engine.drain(site, runs=RUNS) for _ in range(REPETITIONS)]


def _blocked(site: Engine, _before: list[Drain]) -> list[Drain]:
    """Blocks a key: one of its runs is running and its limit allows no second; free runs are younger, same queue."""
    with site.connect() as database:
        filling.clear_runs(database)
        keyed = filling.trigger_one(site, "keyed", payload={"customer": KEY}, concurrency_key=KEY)
        holder = Holder(site)
        if holder.claim() != [keyed]:
            raise RuntimeError("the run of the key was not claimed")
        following = filling.trigger_one(site, "keyed", payload={"customer": KEY}, concurrency_key=KEY)
        filling.copy_runs(database, following, BLOCKED - 1)
        free = filling.trigger_one(site, "noop", queue="keyed")
        filling.copy_runs(database, free, RUNS * REPETITIONS - 1)
        filling.settle(database)
        drains = []
        for _ in range(REPETITIONS):
            holder.renew()
            drains.append(engine.drain(site, runs=RUNS))
        holder.renew()
        _check_blocked(database)
    return drains


def _held(site: Engine, before: list[Drain]) -> list[Drain]:
    """Holds a snapshot open, so that what runs leave behind cannot be removed."""
    engine.fill_pending(site, int(engine.median(before).rate * SNAPSHOT_SECONDS * HEADROOM))
    with psycopg.connect(site.database_url) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.commit()
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("SELECT count(*) FROM runs_task")
        return [engine.drain(site, runs=10**9, seconds=SNAPSHOT_SECONDS)]


def _check_blocked(database: psycopg.Connection) -> None:
    """Checks the counts: a claim that ignores the limit would have been measured with other than the free runs."""
    row = database.execute(
        "SELECT count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'running')"
        " FROM runs_run WHERE concurrency_key = %s",
        (KEY,),
    ).fetchone()
    if row != (BLOCKED, 1):
        raise RuntimeError(f"of the runs of the full key {row} are pending and running, not {(BLOCKED, 1)}")


class Holder:
    """A worker that holds on to what it claims."""

    def __init__(self, site: Engine) -> None:
        self._site = site
        self._id = uuid4()
        self._leases: list[wire.Lease] = []
        self._call(
            "workers", wire.Registration(self._id, "holder", "process", 1, wire.PROTOCOL_VERSION), wire.Registered
        )

    def claim(self) -> list[UUID]:
        """Polls for one run; returns it, confirmed."""
        claims = self._call("polls", wire.Poll(self._id, uuid4(), 1), wire.PollReply).claims
        self._leases = [wire.Lease(claim.run_id, claim.token) for claim in claims]
        self.renew()
        return [claim.run_id for claim in claims]

    def renew(self) -> None:
        stale = self._call("heartbeats", wire.Heartbeat(self._id, self._leases), wire.HeartbeatReply).stale
        if stale:
            raise RuntimeError("the run of the full key was taken from its worker")

    def _call(self, path: str, message: wire.Message, reply: type[Reply]) -> Reply:
        connection = http.client.HTTPConnection(urlsplit(self._site.coordinator_url).netloc, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self._site.worker_token}"}
            connection.request("POST", f"/coordinator/v1/{path}", wire.encode(message), headers)
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{path}: {response.status} {raw!r}")
        return wire.decode(raw, reply)


GOALS: dict[Callable[[Engine, list[Drain]], list[Drain]], tuple[str, str]] = {
    _blocked: (f"{BLOCKED:,} due runs of one full key ahead", "≥ 70"),
    _full: (f"{FINISHED:,} finished and {PENDING:,} pending runs", "≥ 85"),
    _held: (f"a snapshot held open for {SNAPSHOT_SECONDS:.0f} s", "≥ 50"),
}
