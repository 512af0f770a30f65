"""Measures the cost of triggering: over HTTP on one connection and on eight, by ORM, and a thousand runs at once.

The worker's only slot is taken by a sleeping run, so no triggered run starts meanwhile.
"""

import http.client
import json
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.measures import Row, surroundings
from benchmarks.orm_side import BATCH_ITEMS, payload_of
from benchmarks.site import Site, percentile

SINGLE_RUNS = 500
CONNECTIONS = 8
PARALLEL_RUNS = 2000
BATCHES = 7
SLEEP_SECONDS = 110.0
START_SECONDS = 30.0
ACCEPTED = {http.HTTPStatus.CREATED, http.HTTPStatus.OK}

TASKS = """
from trigger_sdk import task


@task(id="order")
def order(order_id: str, quantity: int, is_express: bool = False):
    return order_id
"""


def triggering(site: Site) -> list[Row]:
    """Times a caller's verbs until their answers, when the runs are committed."""
    _deploy(site)
    with _busy_worker(site):
        alone = _alone_ms(site)
        together = _together_per_second(site)
        http_batches = _http_batch_seconds(site)
        orm = site.run_module("orm_side", "single", str(SINGLE_RUNS))
        orm_batches = site.run_module("orm_side", "batch", str(BATCHES))
        around = surroundings(site)
    small = f"{SINGLE_RUNS} runs with a payload of three fields, validated; {around}"
    many = f"median of {BATCHES} batches of {BATCH_ITEMS:,} runs of three fields, each validated"
    return [
        Row("trigger over HTTP, one keep-alive connection, p50", percentile(alone, 0.5), "ms", "≤ 5", small),
        Row("… p99", percentile(alone, 0.99), "ms", "", ""),
        Row(f"trigger over HTTP, {CONNECTIONS} connections", together, "runs/s", "≥ 300", f"{PARALLEL_RUNS:,} runs"),
        Row("ORM trigger(), p50", percentile(orm, 0.5), "ms", "≤ 1.5", small),
        Row("… p99", percentile(orm, 0.99), "ms", "", ""),
        Row("batch over HTTP", BATCH_ITEMS / statistics.median(http_batches), "runs/s", "≥ 8,000", many),
        Row("ORM trigger_batch()", BATCH_ITEMS / statistics.median(orm_batches), "runs/s", "≥ 8,000", many),
    ]


class Caller:
    """A program with an API key and one keep-alive connection."""

    def __init__(self, site: Site) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(site.info["url"]).netloc, timeout=60)
        self._headers = {"Authorization": f"Bearer {site.info['api_key']}", "Content-Type": "application/json"}

    def post(self, path: str, body: bytes) -> None:
        self._connection.request("POST", f"/api/v1/{path}", body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status not in ACCEPTED:
            raise RuntimeError(f"{path}: {response.status} {answer[:500]!r}")

    def trigger(self, number: int) -> None:
        self.post("tasks/order/runs", json.dumps({"payload": payload_of(number)}).encode())

    def close(self) -> None:
        self._connection.close()


def _alone_ms(site: Site) -> list[float]:
    caller = Caller(site)
    measured = []
    for number in range(-20, SINGLE_RUNS):
        began_at = time.perf_counter()
        caller.trigger(number)
        measured.append((time.perf_counter() - began_at) * 1000)
    caller.close()
    return measured[20:]


def _together_per_second(site: Site) -> float:
    """Gives every connection a thread; raises again what a thread raises."""
    errors: list[BaseException] = []

    def call(first: int) -> None:
        caller = Caller(site)
        try:
            for number in range(first, PARALLEL_RUNS, CONNECTIONS):
                caller.trigger(number)
        except BaseException as error:
            errors.append(error)
            raise
        finally:
            caller.close()

    threads = [threading.Thread(target=call, args=(first,)) for first in range(CONNECTIONS)]
    began_at = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began_at
    if errors:
        raise RuntimeError(f"a trigger was refused: {errors[0]}")
    return PARALLEL_RUNS / seconds


def _http_batch_seconds(site: Site) -> list[float]:
    """Times from the encoded body to the complete answer."""
    items: list[dict[str, Any]] = [{"task": "order", "payload": payload_of(n)} for n in range(BATCH_ITEMS)]
    body = json.dumps({"items": items}).encode()
    caller = Caller(site)
    measured = []
    for _ in range(BATCHES + 1):
        began_at = time.perf_counter()
        caller.post("batches", body)
        measured.append(time.perf_counter() - began_at)
    caller.close()
    return measured[1:]


@contextmanager
def _busy_worker(site: Site) -> Iterator[None]:
    run = site.client.trigger("sleepy", {"seconds": SLEEP_SECONDS})
    deadline = time.monotonic() + START_SECONDS
    while run.refresh().state != "running":
        if time.monotonic() > deadline:
            raise RuntimeError(f"{run.id} is {run.state} and does not start")
        time.sleep(0.05)
    try:
        yield
        if run.refresh().state != "running":
            raise RuntimeError("the run that keeps the worker busy ended too early")
    finally:
        run.cancel()


def _deploy(site: Site) -> None:
    folder = Path(tempfile.mkdtemp(prefix="trigger-bench-tasks-"))
    try:
        (folder / "trigger.toml").write_text('name = "trigger-bench"\n')
        (folder / "order_tasks.py").write_text(TASKS)
        site.deploy(folder)
    finally:
        shutil.rmtree(folder)
