"""Tasks that kill their own process, and a harmless one beside them."""

import os
import signal

from trigger_sdk import Retry, current_run, step, task

PATIENT = Retry(max_attempts=20, initial=0.05, factor=1, max=0.05)
"""A budget that is not used up before a poison run is known for one."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task(id="poison-a", retry=PATIENT)
def poison_a():
    die()


@task(id="poison-b", retry=PATIENT)
def poison_b():
    die()


@task(id="poison-c", retry=PATIENT)
def poison_c():
    die()


@task(id="late-poison", retry=PATIENT)
def late_poison():
    """Saves something new in its first two attempts."""
    number = current_run().attempt_number
    if number <= 2:
        step(f"progress-{number}", int, number)
    die()


@task(id="neighbour")
def neighbour(number: int):
    return number
