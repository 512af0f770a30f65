"""Writes the ends of attempts that did not complete: by their verb, in threads, since Python decides what follows."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection, connections, transaction

from apps.protocol import Finish, Result
from apps.runs.lifecycle import Answer, fail_attempts
from apps.storage.statements import is_held
from trigger_site.coordinator.batches import HELD, HELD_IN_A_ROW
from trigger_site.coordinator.database import PATIENT_POOL_MAX_SIZE, DatabaseAwayError
from trigger_site.coordinator.kinds.base import result_of

THREADS = 2
"""So that a batch waiting for a whole table does not hold up another."""

logger = logging.getLogger(__name__)


class Failures:
    """Writes the ends of attempts that did not complete."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="failures")
        self._patient_threads = ThreadPoolExecutor(PATIENT_POOL_MAX_SIZE, thread_name_prefix="failures-held")
        self._patient_count = 0

    async def submit(self, ends: Sequence[Finish]) -> list[Result]:
        """Returns one result per item; 503 for one whose run, or whose task's control row, is held."""
        if not ends:
            return []
        results = await asyncio.get_running_loop().run_in_executor(self._threads, _fail_in_thread, ends)
        held = [position for position, result in enumerate(results) if result is None]
        waited = await asyncio.gather(*(self._wait(ends[position]) for position in held))
        for position, result in zip(held, waited, strict=True):
            results[position] = result
        return [result for result in results if result is not None]

    async def _wait(self, end: Finish) -> Result:
        if self._patient_count >= PATIENT_POOL_MAX_SIZE:
            return HELD
        self._patient_count += 1
        try:
            loop = asyncio.get_running_loop()
            fail = partial(_fail_in_thread, patience_seconds=self._patience_seconds)
            (result,) = await loop.run_in_executor(self._patient_threads, fail, [end])
        finally:
            self._patient_count -= 1
        return result or HELD


def _fail_in_thread(ends: Sequence[Finish], *, patience_seconds: float = 0.0) -> list[Result | None]:
    """Like `fail_attempts`, with None for held items; if one item makes the batch raise, it fails alone."""
    try:
        answers = _fail(ends, patience_seconds)
    except (OperationalError, InterfaceError) as error:
        if not is_held(error):
            raise DatabaseAwayError(str(error)) from error
        return [HELD] if len(ends) == 1 else _fail_each(ends)
    except Exception as error:
        if len(ends) > 1:
            return _fail_each(ends)
        logger.exception("coordinator.fail run.id=%s", ends[0].run_id)
        status = 422 if isinstance(error, DataError | IntegrityError) else 500
        return [Result(status, "invalid", f"The attempt's end could not be stored: {type(error).__name__}")]
    finally:
        connections.close_all()
    return [result_of(answer) for answer in answers]


def _fail(ends: Sequence[Finish], patience_seconds: float) -> list[Answer]:
    with transaction.atomic():
        if patience_seconds:
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {round(patience_seconds * 1000)}")
        return fail_attempts(ends, waits=patience_seconds > 0)


def _fail_each(ends: Sequence[Finish]) -> list[Result | None]:
    """Writes each alone; after several held ones in a row the table is held, not a row, and the rest is not
    tried."""
    results: list[Result | None] = []
    held_count = 0
    for end in ends:
        if held_count == HELD_IN_A_ROW:
            return results + [HELD] * (len(ends) - len(results))
        results += _fail_in_thread([end])
        held_count = held_count + 1 if results[-1] is HELD else 0
    return results
