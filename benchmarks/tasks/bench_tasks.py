"""Tasks that cost as little as possible, so that a benchmark measures the platform."""

import time

from trigger_sdk import checkpoint, task

KILOBYTE = "x" * 1000


@task(id="noop")
def noop() -> None:
    return


@task(id="noop-warm", warm_start="same_process")
def noop_warm() -> None:
    return


@task(id="sleepy", max_duration=120)
def sleepy(seconds: float = 1.0) -> dict[str, float]:
    time.sleep(seconds)
    return {"slept_seconds": seconds}


@task(id="steps10")
def steps10() -> dict[str, int]:
    """Ten checkpoints of one kilobyte each."""
    data = KILOBYTE
    checkpoint("step-1", {"data": data})
    checkpoint("step-2", {"data": data})
    checkpoint("step-3", {"data": data})
    checkpoint("step-4", {"data": data})
    checkpoint("step-5", {"data": data})
    checkpoint("step-6", {"data": data})
    checkpoint("step-7", {"data": data})
    checkpoint("step-8", {"data": data})
    checkpoint("step-9", {"data": data})
    checkpoint("step-10", {"data": data})
    return {"size_bytes": len(data)}


@task(id="clock")
def clock() -> float:
    """When its first statement ran: Unix seconds by this node's clock."""
    return time.time()
