"""Runs this package's blocking calls next to an event loop, in its own threads.

Not in asyncio's shared threads: if a task filled those with its own work, every checkpoint would wait for that work.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

THREADS_MAX = 32
"""How many saves of one run wait for their commit at once; the worker reads no more from one process either."""

_threads: ThreadPoolExecutor | None = None


async def off_loop(function: Callable[..., T], *arguments: object) -> T:
    """The result of the call, made in a thread. A cancellation lets the call run to its end."""
    global _threads
    if _threads is None:
        _threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="trigger")
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
