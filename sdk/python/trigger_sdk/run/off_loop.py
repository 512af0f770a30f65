"""Runs the blocking calls of this package beside an event loop, in threads of its own.

Not in asyncio's shared ones: a task that has filled those with its own work would wait for it with every checkpoint.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS_MAX = 32
"""So many saves of one run wait for their commit at the same time; the worker reads no more of one process either."""

_threads: ThreadPoolExecutor | None = None


async def off_loop(function: Callable[..., T], *arguments: object) -> T:
    """The result of the call, made in a thread. A cancellation leaves the call running to its end."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="trigger")
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
