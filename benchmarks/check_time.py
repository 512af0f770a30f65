"""Measures how long the check at registration takes for a large file of tasks: parsing, checking, compiling."""

import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from trigger_sdk.tasks import registry

from benchmarks.measures import Row

LINES = 500
TASKS = 10
POINTS = 4
"""In each task."""
ROUNDS = 15

HEAD = '''"""Orders, from the cart to the parcel."""

import contextlib
import datetime

from trigger_sdk import Retry, checkpoint, step, task
'''
STAGE = """
    # Stage {n}: fetch what is needed, decide, and keep what the next stages read.
    rows_{n} = fetch(order_id, page={n}, limit=limit)
    total_{n} = sum(row["price"] * row["quantity"] for row in rows_{n})
    if total_{n} > limit:
        with contextlib.suppress(KeyError):
            rows_{n} = [row for row in rows_{n} if row["quantity"]]
        note = f"order {{order_id}} is over the limit of {{limit}}"
    else:
        note = step(f"note-{n}-{{order_id}}", describe, rows_{n})
    checkpoint("stage-{n}", {{"rows_{n}": rows_{n}, "total_{n}": total_{n}, "note": note}})
"""


def check() -> list[Row]:
    """Registers all tasks of a generated file repeatedly in this process; does not count its import."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many_tasks.py"
        text = _source()
        path.write_text(text)
        measured = [_milliseconds(path) for _ in range(ROUNDS)]
    lines, points = text.count("\n"), TASKS * POINTS
    around = f"{TASKS} tasks with {points} checkpoints, {ROUNDS} times, load {os.getloadavg()[0]:.1f}"
    return [Row(f"check of a file of {lines} lines, median", statistics.median(measured), "ms", "≤ 200", around)]


def _source() -> str:
    tasks = [HEAD]
    for number in range(TASKS):
        stages = "".join(STAGE.format(n=n) for n in range(POINTS))
        names = ", ".join(f"total_{n}" for n in range(POINTS))
        options = f'id="orders-{number}", max_concurrency=20, retry=Retry(max_attempts=5)'
        tasks.append(
            f"\n\n@task({options})\ndef orders_{number}(order_id: str, limit: int = 100, *, day: str = ''):\n"
            f'    """One order."""\n    client = connect(order_id)  # trigger: again\n{stages}\n    client.close()\n'
            f'    return {{"order": order_id, "day": day, "totals": [{names}]}}\n'
        )
    text = "".join(tasks)
    rest = LINES - text.count("\n")
    return text + "".join(f"# {number}\n" for number in range(rest))


def _milliseconds(path: Path) -> float:
    before = dict(registry)
    began_at = time.perf_counter()
    module = _import(path)
    seconds = time.perf_counter() - began_at
    registered = len(registry) - len(before)
    registry.clear()
    registry.update(before)
    if registered != TASKS:
        raise RuntimeError(f"{registered} tasks of {module.__name__} were registered")
    return seconds * 1000


def _import(path: Path) -> ModuleType:
    # A different text each time: a parsed file is cached for its next task.
    path.write_text(path.read_text() + "#\n")
    spec = importlib.util.spec_from_file_location("many_tasks", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules.pop(spec.name, None)
    spec.loader.exec_module(module)
    return module
