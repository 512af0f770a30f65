"""Measures the engine alone: claims and completes already triggered runs through the coordinator's API.

No task code, no web, no real worker: one coordinator, its database and a client that plays workers.
"""

import os
import statistics
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks import filling, floor
from benchmarks.engine_site import Engine, running_engine
from benchmarks.lean_worker import Shape
from benchmarks.measures import Row

RUNS = 40_000
SECONDS = 10.0
REPETITIONS = 3
SHAPE = Shape(workers=1, capacity=500, batch=250, writers=2)
"""The fastest shape of those tried."""


@dataclass(frozen=True, slots=True)
class Drain:
    """One measurement: how many runs per second, and the CPU time of each process per run."""

    rate: float
    micros: dict[str, float]
    tail_rate: float = 0.0
    """In the last ten seconds."""

    @property
    def cpu(self) -> str:
        return ", ".join(f"{role} {value:,.0f}" for role, value in self.micros.items())


def engine() -> list[Row]:
    """Measures the rate and the floor of the same server, taking turns."""
    drains, floors = [], []
    with running_engine() as site:
        warm_up(site)
        for _ in range(REPETITIONS):
            floors.append(measure_floor(site))
            drains.append(measure_drain(site))
    best, ground = median(drains), median(floors)
    rates = " / ".join(f"{each.rate:,.0f}" for each in drains)
    around = f"{RUNS:,} runs, {describe(SHAPE)}, median of {rates}; CPU µs per run: {best.cpu}; {machine()}"
    floor_around = f"two statements per {floor.BATCH} runs, durable commits; CPU µs per run: {ground.cpu}"
    return [
        Row("engine: claim + complete through the coordinator", best.rate, "runs/s", "≥ 8,000", around),
        Row("… the floor: raw SQL on the same server", ground.rate, "runs/s", "", floor_around),
        Row("… engine / floor", best.rate / ground.rate * 100, "%", "≥ 18", ""),
    ]


def warm_up(site: Engine, runs: int = 2000) -> None:
    fill_pending(site, runs)
    drain(site, runs=runs)


def fill_pending(site: Engine, runs: int) -> None:
    """Empties the tables, then adds that many pending no-ops."""
    with site.connect() as database:
        filling.clear_runs(database)
        template = filling.trigger_one(site, "noop")
        filling.copy_runs(database, template, runs - 1)
        filling.settle(database)


def measure_drain(site: Engine, runs: int = RUNS, shape: Shape = SHAPE) -> Drain:
    fill_pending(site, runs)
    return drain(site, runs=runs, shape=shape)


def drain(site: Engine, *, runs: int, shape: Shape = SHAPE, seconds: float = SECONDS) -> Drain:
    """Claims and completes what is pending, for at most this long."""
    arguments = [site.coordinator_url, "--runs", str(runs), "--seconds", str(seconds)]
    for name in ("workers", "capacity", "batch", "writers"):
        arguments += [f"--{name}", str(getattr(shape, name))]
    before = site.cpu_seconds()
    done = site.run_module("lean_worker", *arguments, stdin=site.worker_token)
    spent = {role: seconds - before[role] for role, seconds in site.cpu_seconds().items()}
    spent["client"] = done["cpu_seconds"]
    return _drain_of(done, spent)


def measure_floor(site: Engine, seconds: float = 3.0) -> Drain:
    floor.prepare(site.database_url)
    before = site.cpu_seconds()["postgres"]
    done = site.run_module("floor", site.database_url, str(seconds))
    spent = {"postgres": site.cpu_seconds()["postgres"] - before, "client": done["cpu_seconds"]}
    floor.drop(site.database_url)
    return _drain_of(done, spent)


def median(drains: list[Drain]) -> Drain:
    """Returns the middle one, with its own CPU times."""
    middle = statistics.median_low(each.rate for each in drains)
    return next(each for each in drains if each.rate == middle)


def describe(shape: Shape) -> str:
    workers = "1 worker" if shape.workers == 1 else f"{shape.workers} workers"
    return (
        f"{workers}, polls of {shape.capacity}, finishes of {shape.batch}, {shape.writers} at once beside the next poll"
    )


def machine() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {psutil.cpu_count()} cores"


def _drain_of(done: dict[str, Any], spent: dict[str, float]) -> Drain:
    completed = done["completed"]
    if not completed:
        raise RuntimeError("no run was completed")
    micros = {role: seconds / completed * 1e6 for role, seconds in spent.items()}
    return Drain(completed / done["seconds"], micros, done.get("tail_per_second", 0.0))
