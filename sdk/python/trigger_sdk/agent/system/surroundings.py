"""Prepares a new process for one run: its session, folder, environment, memory flags and random numbers.

Also strips what a process forked by the *run* must not keep: it does not speak for the run, so its output goes through
the pipes.
"""

import os
import signal
import sys
from collections.abc import Callable

from trigger_sdk.agent.system import processes

CONTAINER_WORK_FOLDER = "/work"

EXIT_NOT_STARTED = 70
"""The exit code of a child that could not be set up; stderr says why."""


def settle(*, agent: int, folder: str | None, is_container: bool) -> None:
    """Leaves the agent's session and enters the run's folder; ends the process if the agent is already gone."""
    processes.die_with_parent(agent)
    os.setsid()
    processes.set_dumpable(is_dumpable=True)
    processes.offer_to_out_of_memory_killer()
    processes.adopt_orphans()
    enter_folder(folder, is_container=is_container)
    reseed()


def enter_folder(folder: str | None, *, is_container: bool) -> None:
    """Makes the run's folder the current one, HOME and, outside a container, the folder for temporary files."""
    home = folder or (CONTAINER_WORK_FOLDER if is_container else None)
    if home is not None:
        os.chdir(home)
        os.environ["HOME"] = home
    if folder is not None:
        os.environ["TMPDIR"] = folder
    reset_tempfile()


def reseed() -> None:
    """Reseeds numpy's global generator for this run; `random` does so by itself after a fork."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def reset_tempfile() -> None:
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None  # type: ignore[attr-defined]


def shed_in_forks(leave: Callable[[], None]) -> None:
    """In every process that the run forks: restores plain output, removes the stop handler, and calls `leave()` to
    drop the connection."""

    def after_fork() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        leave()

    os.register_at_fork(after_in_child=after_fork)
