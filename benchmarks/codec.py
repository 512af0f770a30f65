"""Measures the codec: how long storing a value and reading it back takes, for a small order and for 1 MB of JSON."""

import dataclasses
import datetime
import decimal
import os
import time
from collections.abc import Callable
from typing import Any

from trigger_sdk.values.codec import decode, encode
from trigger_sdk.values.shapes import restore

from benchmarks.measures import Row

ROUNDS = 25
SMALL_REPEATS = 500
"""Of a small value in one round: a single one takes less than the clock can tell."""


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal
    count: int


@dataclasses.dataclass
class Order:
    id: str
    lines: list[Line]
    at: datetime.datetime


LINES = [{"sku": f"tea-{number}", "price": decimal.Decimal("10.10"), "count": number} for number in range(3)]
AT = datetime.datetime(2026, 5, 1, 8, 30, tzinfo=datetime.UTC)
SMALL = {"id": "A1", "customer": {"name": "Ada", "mail": "ada@example.com"}, "lines": LINES, "at": AT, "total": 30.3}
TYPED = Order("A1", [Line("tea", decimal.Decimal("10.10"), 2)] * 3, AT)
ROW = {"id": 12345, "name": "a name of some length", "price": 10.5, "tags": ["a", "b"], "active": True, "note": None}
LARGE = [ROW] * 9_000
"""About 1 MB of JSON."""


def codec() -> list[Row]:
    """The medians of rounds, both ways together."""
    size = len(encode(LARGE)) / 1e6
    around = f"median of {ROUNDS}, load {os.getloadavg()[0]:.1f}"
    return [
        Row("storing and reading a small order", _microseconds(_plain, SMALL), "µs", "", around),
        Row("the same of an annotated dataclass", _microseconds(_typed, TYPED), "µs", "", around),
        Row(f"storing and reading {size:.1f} MB of JSON", _microseconds(_plain, LARGE, 1) / 1000, "ms", "", around),
    ]


def _plain(value: Any) -> None:
    decode(encode(value))


def _typed(value: Any) -> None:
    restore(decode(encode(value, annotation=Order, is_restored=True)), Order, "order")


def _microseconds(work: Callable[[Any], None], value: Any, repeats: int = SMALL_REPEATS) -> float:
    work(value)
    measured = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(repeats):
            work(value)
        measured.append((time.perf_counter() - started) / repeats * 1e6)
    return sorted(measured)[ROUNDS // 2]
