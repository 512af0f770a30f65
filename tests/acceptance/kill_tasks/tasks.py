"""Tasks that write down what they did in a file outside the database, and wait where the test wants to hit them."""

import asyncio
import atexit
import hashlib
import os
import signal
import threading
import time

from trigger_sdk import Retry, checkpoint, current_run, step, task

QUICK = Retry(max_attempts=5, initial=0.1, factor=1, max=0.1)


def note(ledger: str, what: str) -> None:
    with open(ledger, "a") as file:
        file.write(f"{what} {current_run().attempt_number} {os.getpid()} {os.getppid()}\n")


def wait_while(path: str) -> None:
    """Returns at once unless the file exists; then waits until the test removes it."""
    while os.path.exists(path):
        time.sleep(0.01)


@task(id="three-stages", retry=QUICK)
def three_stages(ledger: str, gate: str, fail_once: bool = False):
    note(ledger, "first")
    first = [1, 2, 3]
    checkpoint("first-done", {"first": first})
    note(ledger, "second")
    second = sum(first)
    checkpoint("second-done", {"second": second})
    note(ledger, "third")
    wait_while(gate)
    if fail_once and current_run().attempt_number == 1:
        raise RuntimeError("the third stage failed once")
    note(ledger, "end")
    return {"first": first, "second": second}


@task(id="kills-its-worker", retry=QUICK)
def kills_its_worker(ledger: str, gate: str):
    note(ledger, "begin")
    with open(f"/proc/{os.getppid()}/stat") as file:
        worker = int(file.read().rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGKILL)
    wait_while(gate)


@task(id="holds", retry=QUICK)
def holds(ledger: str, gate: str):
    note(ledger, "begin")
    try:
        wait_while(gate)
    finally:
        note(ledger, "clean-up")
    return "done"


@task(id="too-long", retry=Retry(max_attempts=1), max_duration=1)
def too_long(ledger: str, gate: str):
    note(ledger, "begin")
    wait_while(gate)


@task(id="goes-on", retry=QUICK, max_duration=5)
def goes_on(ledger: str, gate: str):
    """Returns at once; a thread goes on until the gate opens."""
    threading.Thread(target=wait_while, args=(gate,), name="writer").start()
    return "returned"


@task(id="cleans-up", retry=QUICK)
def cleans_up(ledger: str, gate: str):
    """Returns at once; its clean-up goes on until the gate opens."""
    note(ledger, "begin")
    atexit.register(clean_up, ledger, gate)
    return "returned"


def clean_up(ledger: str, gate: str) -> None:
    with open(ledger, "a") as file:
        file.write(f"clean-up 1 {os.getpid()} {os.getppid()}\n")
    wait_while(gate)


@task(id="garbles", retry=QUICK)
def garbles():
    """A hostile task: what it says it returns is no JSON."""
    from trigger_sdk.values import codec

    codec.encode = lambda *_, **__: b'{"never": '
    return "seen by nobody"


def big_page(ledger: str, number: int) -> str:
    note(ledger, f"page-{number}")
    return str(number) * 60_000


@task(id="many-pages", retry=QUICK)
def many_pages(ledger: str, gate: str, count: int):
    """Its results are together larger than what an attempt is given at its start."""
    digests = []
    for number in range(count):
        if number == count - 2 and current_run().attempt_number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        page = step(f"page-{number}", big_page, ledger, number)
        digests.append(hashlib.sha256(page.encode()).hexdigest())
    return digests


@task(id="gathered-pages", retry=QUICK)
async def gathered_pages(ledger: str, gate: str, count: int):
    async def fetch(number: int) -> dict:
        note(ledger, f"page-{number}")
        if number == count - 1 and current_run().attempt_number == 1:
            await asyncio.to_thread(wait_while, gate)
            os.kill(os.getpid(), signal.SIGKILL)
        return {"page": number}

    return await asyncio.gather(*(step(f"page-{number}", fetch, number) for number in range(count)))
