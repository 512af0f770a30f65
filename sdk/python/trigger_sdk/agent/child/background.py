"""Finishes what a task left to threads and to the end of the process, as telemetry clients and pools do.

The process of a run skips the interpreter's own shutdown, so its work is done here, with a time limit.
"""

import atexit
import threading
import weakref
from collections.abc import Callable

from trigger_sdk.run.deadlines import TimeLimitReached, call_within

SECONDS = 10.0
"""The same time as a stopped run has for its clean-up."""
NAMES_SHOWN = 10


def leave_to_the_agent() -> None:
    """In a child of the agent: turns off clean-up at exit of what the import made, such as a temporary folder."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001 - no public list
        finalizer.atexit = False


def see_through(remark: Callable[[str], None], may_interrupt: Callable[[], bool]) -> None:
    """Joins non-daemon threads, lets pools finish the work they have accepted, and calls the `atexit` functions.

    What is not done within SECONDS ends with the process, and a log line says so. Raises the run's stop if one comes.
    """
    try:
        call_within(SECONDS, _finish, may_interrupt=may_interrupt)
    except TimeLimitReached:
        names = [thread.name for thread in _threads()]
        who = f" by the threads {', '.join(names[:NAMES_SHOWN])}" if names else ""
        remark(f"Work{who} was cut off {SECONDS:g} s after the task ended: wait for it in the task.")


def _finish() -> None:
    # As `threading._shutdown` does, but without marking the main thread as ended: pools accept nothing more.
    for shut_down in reversed(getattr(threading, "_threading_atexits", [])):
        shut_down()
    while threads := _threads():
        for thread in threads:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - otherwise only the interpreter's shutdown calls it


def _threads() -> list[threading.Thread]:
    mine = threading.current_thread()
    return [thread for thread in threading.enumerate() if thread is not mine and not thread.daemon]
