"""A run of five checkpoints and two steps that notes what each segment does in a ledger outside the database.

The ledger is one file of the run: a line `attempt pid nanoseconds place` for each place, written by one append and
brought to the disk before the task goes on. Places: `enter n` and `effect n` of segment n, `returned n` when its
checkpoint is acknowledged, `within s` inside a step, `returned s` when its result is, `end` before the task returns.
"""

import os
import time

from trigger_sdk import Retry, checkpoint, current_run, step, task

PATIENT = Retry(max_attempts=200, initial=0.05, factor=1, max=0.2)
SEPARATE_SECONDS = 30.0


def ledger_of(folder: str) -> str:
    """The run's file in that folder; without a folder the attempt's own in the working folder of its container.

    Such a file dies with the container, so the task goes on only when somebody outside has linked it elsewhere.
    """
    if folder:
        return os.path.join(folder, current_run().id)
    path = os.path.abspath(f"ledger.{current_run().id}.{current_run().attempt_number}")
    if not os.path.exists(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        deadline = time.monotonic() + SEPARATE_SECONDS
        while os.stat(path).st_nlink < 2:
            if time.monotonic() > deadline:
                raise RuntimeError("nobody has linked the ledger")
            time.sleep(0.01)
    return path


def note(folder: str, place: str) -> None:
    line = f"{current_run().attempt_number} {os.getpid()} {time.time_ns()} {place}\n".encode()
    file = os.open(ledger_of(folder), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
        os.fsync(file)
    finally:
        os.close(file)


def segment(folder: str, number: int, value: int, seconds: list[float]) -> int:
    """Takes its time between its beginning and its effect."""
    note(folder, f"enter {number}")
    time.sleep(seconds[number])
    note(folder, f"effect {number}")
    return (value * 31 + number) % 1_000_003


def squared(folder: str, key: str, value: int) -> int:
    note(folder, f"within {key}")
    return value * value


@task(id="campaign", retry=PATIENT)
def campaign(number: int, seconds: list[float], ledger: str):
    total = segment(ledger, 0, number, seconds)
    checkpoint("c0", {"total": total})
    note(ledger, "returned 0")
    total = segment(ledger, 1, total, seconds)
    checkpoint("c1", {"total": total})
    note(ledger, "returned 1")
    total = segment(ledger, 2, total, seconds)
    first = step("s0", squared, ledger, "s0", total)
    note(ledger, "returned s0")
    checkpoint("c2", {"total": total, "first": first})
    note(ledger, "returned 2")
    total = segment(ledger, 3, total, seconds)
    checkpoint("c3", {"total": total})
    note(ledger, "returned 3")
    total = segment(ledger, 4, total, seconds)
    checkpoint("c4", {"total": total})
    note(ledger, "returned 4")
    total = segment(ledger, 5, total, seconds)
    second = step("s1", squared, ledger, "s1", total)
    note(ledger, "returned s1")
    note(ledger, "end")
    return {"number": number, "total": total, "first": first, "second": second}
