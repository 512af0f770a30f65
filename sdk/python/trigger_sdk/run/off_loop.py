"""Runs this package's blocking calls next to an event loop, in its own threads.

Not in asyncio's shared threads: if a task filled those with its own work, every checkpoint would wait for that work.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS_MAX = 32
"""How many saves of one run wait for their commit at once; the worker reads no more from one process either."""

NAME = "trigger"
_threads: ThreadPoolExecutor | None = None
_process = 0
"""The process whose threads these are: a fork has the pool, but none of its threads."""


def is_own(thread: threading.Thread) -> bool:
    """Whether the thread is this package's: it belongs to no run."""
    return thread.name.startswith(f"{NAME}_")


def thread_count() -> int:
    return sum(map(is_own, threading.enumerate()))


async def off_loop(function: Callable[..., T], *arguments: object) -> T:
    """The result of the call, made in a thread. A cancellation lets the call run to its end."""
    global _threads, _process
    if _threads is None or _process != os.getpid():
        _threads, _process = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix=NAME), os.getpid()
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
