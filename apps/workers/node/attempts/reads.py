"""Reads from a coordinator for an attempt that cannot continue without the answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from apps.workers.node.attempts.attempt import Attempt
from apps.workers.node.coordinator import CallRefusedError, CoordinatorError
from apps.workers.node.outbox import BACKOFF_SECONDS

logger = logging.getLogger(__name__)

Reply = TypeVar("Reply")


async def read_for(attempt: Attempt, read: Callable[..., Awaitable[Reply]], *arguments: Any) -> Reply:
    """Returns a coordinator's answer; waits while it is away, for as long as the lease can be held."""
    delay, longest = BACKOFF_SECONDS
    while True:
        try:
            return await read(*arguments)
        except CallRefusedError:
            raise
        except CoordinatorError as error:
            if attempt.stop_reason:
                raise
            logger.warning("worker.read run.id=%s: %s; again in %.1f s", attempt.public_run_id, error, delay)
        await asyncio.sleep(delay)
        delay = min(longest, delay * 2)
