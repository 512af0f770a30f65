"""What a task has left to threads and to the end of the process, as telemetry clients and pools do: it is seen through.

The process of a run ends without the interpreter's own end, so what that would do is done here, with a limit.
"""

import atexit
import threading
import weakref
from collections.abc import Callable

from trigger_sdk.run.deadlines import TimeLimitReached, call_within

SECONDS = 10.0
"""As long as a run that is stopped has for its clean-up."""
NAMES_SHOWN = 10


def leave_to_the_agent() -> None:
    """In a child of the agent: what was made at import and cleans up at exit (a temporary folder) is not this run's."""
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]  # noqa: SLF001 - no public list
        finalizer.atexit = False


def see_through(remark: Callable[[str], None], may_interrupt: Callable[[], bool]) -> None:
    """Joins threads that are no daemons, lets pools do what they have taken, and calls the functions of `atexit`.

    What is not done within SECONDS ends with the process, and a line says so. Raises the run's stop if that comes.
    """
    try:
        call_within(SECONDS, _finish, may_interrupt=may_interrupt)
    except TimeLimitReached:
        names = [thread.name for thread in _threads()]
        who = f" by the threads {', '.join(names[:NAMES_SHOWN])}" if names else ""
        remark(f"Work{who} was cut off {SECONDS:g} s after the task had ended: wait for it in the task.")


def _finish() -> None:
    # As `threading._shutdown` does, without telling the main thread that it has ended: pools take nothing more.
    for shut_down in reversed(getattr(threading, "_threading_atexits", [])):
        shut_down()
    while threads := _threads():
        for thread in threads:
            thread.join()
    atexit._run_exitfuncs()  # noqa: SLF001 - the interpreter's own end alone calls it otherwise


def _threads() -> list[threading.Thread]:
    mine = threading.current_thread()
    return [thread for thread in threading.enumerate() if thread is not mine and not thread.daemon]
