"""Reads queues: what waits and runs in them, and their settings. Dead letters have their own reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.http.answers import timestamp
from apps.http.cursors import read_cursor, write_cursor
from apps.queues.lines import QUEUE_LINES, refuse_unknown_queue


def queue_page(*, cursor: str, limit: int) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Queues by name after the cursor (empty: from the first), and the cursor of the next page."""
    after = read_cursor("queues", cursor, str)[0] if cursor else ""
    rows = QUEUE_LINES.run(name=None, after=after, limit=limit + 1)
    page = [_queue_row(row) for row in rows[:limit]]
    return page, write_cursor("queues", rows[limit - 1].name) if len(rows) > limit else None


def queue_line(name: str) -> Mapping[str, Any]:
    """The queue; raises QueueNotFound if nothing names it."""
    rows = QUEUE_LINES.run(name=name, after="", limit=1)
    if not rows:
        refuse_unknown_queue(name)
    return _queue_row(rows[0])


def _queue_row(row: Any) -> dict[str, Any]:
    waited = None if row.oldest_at is None else max(0.0, (row.now - row.oldest_at).total_seconds())
    return {
        "name": row.name,
        "is_paused": row.is_paused,
        "max_concurrency": row.max_concurrency,
        "rate_limit": row.rate_limit or None,
        "max_depth": row.max_depth,
        "depth": row.pending_count + row.delayed_count,
        "pending_count": row.pending_count,
        "delayed_count": row.delayed_count,
        "retrying_count": row.retrying_count,
        "running_count": row.running_count,
        "oldest_wait_seconds": waited,
        "oldest_triggered_at": timestamp(row.oldest_at),
        "tasks": row.tasks,
    }
