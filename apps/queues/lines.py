"""Which queues there are: those that a setting, a live run or a task names. `queries.py` shows them."""

import difflib
from typing import NoReturn

from apps.queues.errors import QueueNotFound
from apps.runs.models import QUEUE_MAX_LENGTH
from apps.storage.statements import statement

NEAR_MISSES_SHOWN = 3
NAMES_COMPARED = 1_000

QUEUE_LINES = statement(__file__, "queue_lines")


def require_queue(name: str) -> None:
    """Raises QueueNotFound (naming near misses) if nothing names the queue."""
    if not QUEUE_LINES.run(name=name, after="", limit=1):
        refuse_unknown_queue(name)


def refuse_unknown_queue(name: str) -> NoReturn:
    """Raises QueueNotFound with similar names."""
    known = [row.name for row in QUEUE_LINES.run(name=None, after="", limit=NAMES_COMPARED)]
    near = difflib.get_close_matches(name[:QUEUE_MAX_LENGTH], known, n=NEAR_MISSES_SHOWN)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = repr(name[:QUEUE_MAX_LENGTH])
    raise QueueNotFound(f"There is no queue {shown}: no task, no run and no setting names it.{hint}")
