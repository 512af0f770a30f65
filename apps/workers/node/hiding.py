"""Hides the worker's token from the tasks on its node: keeps it out of the environment and protects its memory.

A process's initial environment stays readable in `/proc/<pid>/environ` for its whole life, whatever it does to its
variables. So the token is passed through a pipe to a program that is started without it.
"""

import os
from collections.abc import Mapping

from trigger_sdk.agent.system import processes

TOKEN = "TRIGGER_WORKER_TOKEN"  # noqa: S105 - the variable's name
TOKEN_DESCRIPTOR = "TRIGGER_WORKER_TOKEN_FD"  # noqa: S105 - the variable's name
TOKEN_MAX_BYTES = 4096


def hide() -> None:
    """Prevents other processes of this user from reading this one's memory and environment."""
    processes.set_dumpable(is_dumpable=False)


def hand_over(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for the program that replaces this one; the token waits in an inherited pipe."""
    kept = dict(environment)
    token = kept.pop(TOKEN, "").encode()
    if not 0 < len(token) <= TOKEN_MAX_BYTES:  # none, or one no coordinator has: the worker itself reports it
        return dict(environment)
    reading, writing = os.pipe()
    os.write(writing, token)
    os.close(writing)
    os.set_inheritable(reading, True)
    kept[TOKEN_DESCRIPTOR] = str(reading)
    return kept


def take_over(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment with the token handed over, if any, and closes its pipe. For reading only."""
    found = dict(environment)
    descriptor = found.pop(TOKEN_DESCRIPTOR, "")
    if descriptor.isdecimal():
        with os.fdopen(int(descriptor), "rb") as pipe:
            found[TOKEN] = pipe.read(TOKEN_MAX_BYTES).decode()
    return found
