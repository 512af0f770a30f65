"""A task whose first attempt writes only when the test has let its lease be given away."""

import os
import time

from trigger_sdk import Retry, current_run, step, task


@task(id="zombie", retry=Retry(max_attempts=3))
def zombie(ledger: str, wake: str, gate: str):
    if current_run().attempt_number > 1:
        while os.path.exists(gate):
            time.sleep(0.05)
        return "by the second attempt"
    note(ledger, "begun")
    while not os.path.exists(wake):
        time.sleep(0.1)
    note(ledger, "writes")
    step("late", str, "by the first attempt")
    note(ledger, "accepted")
    return "by the first attempt"


def note(ledger: str, what: str) -> None:
    with open(ledger, "a") as file:
        file.write(f"{what} {os.getpid()} {os.getppid()}\n")
