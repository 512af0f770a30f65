"""Keeps the worker's token from the tasks of its own node: out of its environment, its memory out of their reach.

What a process is started with stays readable in `/proc/<pid>/environ` for its whole life, whatever it does to its
variables. So the token is handed on in a pipe, to a program that is started without it.
"""

import os
from collections.abc import Mapping

from trigger_sdk.agent.system import processes

TOKEN = "TRIGGER_WORKER_TOKEN"  # noqa: S105 - the variable's name
TOKEN_DESCRIPTOR = "TRIGGER_WORKER_TOKEN_FD"  # noqa: S105 - the variable's name
TOKEN_MAX_BYTES = 4096


def hide() -> None:
    """From here on other processes of this user read neither memory nor environment of this one."""
    processes.set_dumpable(is_dumpable=False)


def hand_over(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for the program that replaces this one: the token waits in a pipe that it inherits."""
    kept = dict(environment)
    token = kept.pop(TOKEN, "").encode()
    if not 0 < len(token) <= TOKEN_MAX_BYTES:  # none, or one that no coordinator has: the worker says so itself
        return dict(environment)
    reading, writing = os.pipe()
    os.write(writing, token)
    os.close(writing)
    os.set_inheritable(reading, True)
    kept[TOKEN_DESCRIPTOR] = str(reading)
    return kept


def take_over(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the token that was handed over, if one was; its pipe is closed. For reading, not to set."""
    found = dict(environment)
    descriptor = found.pop(TOKEN_DESCRIPTOR, "")
    if descriptor.isdecimal():
        with os.fdopen(int(descriptor), "rb") as pipe:
            found[TOKEN] = pipe.read(TOKEN_MAX_BYTES).decode()
    return found
