"""Tasks beside which rows and tables are held: short ones that keep coming, long ones whose leases must last."""

import time
from pathlib import Path

from trigger_sdk import step, task


def tick(number: int) -> int:
    return number


@task(id="plain", warm_start="same_process")
def plain() -> str:
    return "done"


@task(id="lasting")
def lasting(gate: str) -> int:
    return until_open(gate)


@task(id="victim", max_concurrency=5, rate_limit="1000/s")
def victim(gate: str) -> int:
    return until_open(gate)


def until_open(gate: str) -> int:
    """Saves a step each half second until the file is gone."""
    number = 0
    while Path(gate).exists():
        step(f"tick-{number}", tick, number)
        number += 1
        time.sleep(0.5)
    return number
