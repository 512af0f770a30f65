"""A run of ten checkpoints and two steps that notes each place it passes, and kills its own process where it is told.

The ledger is a file of the run outside the database: one line `attempt pid place`, written by one append. `probe` says
where: `ledger` (folder), `kills` (places, each as often as named), `raises_at` (a place, once), `gate` (a file: the
place `gate` waits until it is gone).
"""

import contextlib
import os
import signal
import time

from trigger_sdk import Retry, checkpoint, current_run, step, task

QUICK = Retry(max_attempts=50, initial=0.05, factor=1, max=0.05)


def write(path: str, what: str) -> None:
    line = f"{current_run().attempt_number} {os.getpid()} {what}\n".encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def noted(path: str, what: str) -> int:
    with open(path) as file:
        return sum(line.split(" ", 2)[2].rstrip("\n") == what for line in file)


def at(probe: dict, place: str) -> None:
    """The effect of this place; then what the test has planned for it."""
    path = os.path.join(probe["ledger"], current_run().id)
    write(path, place)
    while place == "gate" and os.path.exists(probe["gate"]):
        time.sleep(0.005)
    if noted(path, f"kill {place}") < probe["kills"].count(place):
        write(path, f"kill {place}")
        os.kill(os.getpid(), signal.SIGKILL)
    if place == probe["raises_at"] and not noted(path, "raise"):
        write(path, "raise")
        raise RuntimeError(f"planned at {place}")


def squared(probe: dict, key: str, number: int) -> int:
    at(probe, f"within {key}")
    return number * number


@task(id="ten-checkpoints", retry=QUICK)
def ten_checkpoints(seed: int, probe: dict):
    at(probe, "begin")
    numbers = [seed]
    at(probe, "assigned c0")
    checkpoint("c0", {"numbers": numbers})
    at(probe, "returned c0")
    numbers.append(seed + 1)
    at(probe, "changed c1")
    checkpoint("c1")
    at(probe, "returned c1")
    total = sum(numbers)
    at(probe, "assigned c2")
    checkpoint("c2", {"total": total})
    at(probe, "returned c2")
    print("a third is done")
    at(probe, "printed c3")
    if total > 0:
        at(probe, "entered c3")
        sign = "positive"
        at(probe, "assigned c3")
        checkpoint("c3", {"sign": sign})
        at(probe, "returned c3")
    else:
        sign = "other"
    share = 0.0
    with contextlib.suppress(ZeroDivisionError):
        at(probe, "entered c4")
        share = total / len(numbers)
        at(probe, "assigned c4")
        checkpoint("c4", {"share": share, "sign": sign})
        at(probe, "returned c4")
        total = total // 0
    at(probe, "left c4")
    square = step("s0", squared, probe, "s0", seed)
    at(probe, "returned s0")
    checkpoint("c5", {"square": square, "share": share, "sign": sign})
    at(probe, "returned c5")
    try:
        at(probe, "entered c6")
        text = "x" * seed
        at(probe, "assigned c6")
        checkpoint("c6", {"text": text})
        at(probe, "returned c6")
        raise LookupError(text)
    except LookupError as error:
        length = len(str(error))
        at(probe, "caught c6")
    at(probe, "assigned c7")
    checkpoint("c7", {"length": length})
    at(probe, "returned c7")
    total += length
    at(probe, "changed c8")
    checkpoint("c8", {"total": total})
    at(probe, "returned c8")
    fourth = step("s1", squared, probe, "s1", square)
    at(probe, "returned s1")
    checkpoint("c9", {"fourth": fourth})
    at(probe, "returned c9")
    result = {"numbers": numbers, "total": total, "sign": sign, "share": share, "square": square, "fourth": fourth}
    at(probe, "gate")
    return result
