"""How deep a queue may get: a trigger that would go beyond is refused whole. Exact, because each queue that has such a
limit takes its triggers one after the other; queues without one are not locked."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from apps.http.errors import FieldError
from apps.queues.errors import QueueFull
from apps.storage.statements import statement

RETRY_AFTER_RANGE = (1, 60)
STARTS_SAMPLED = 500

BOUNDED_QUEUES = statement(__file__, "bounded_queues")
LOCK_DEPTHS = statement(__file__, "lock_depths")
QUEUE_DEPTHS = statement(__file__, "queue_depths")
RECENT_STARTS = statement(__file__, "recent_starts")


class DepthLimits:
    """`max_depth` counts pending and delayed runs. What retries and requeues add is never refused, only counted."""

    def applies(self, queues: Collection[str]) -> bool:
        return bool(BOUNDED_QUEUES.run_prepared(queues=list(queues)))

    def admit(self, counts: Mapping[str, int]) -> None:
        """Raises QueueFull; holds the queues' rows until the transaction ends."""
        limits = {row.name: row.max_depth for row in LOCK_DEPTHS.run(queues=list(counts))}
        # Each count goes no further than the limit: beyond it, it would only say how full a full queue is.
        for row in QUEUE_DEPTHS.run(queues=list(limits), limits=list(limits.values())):
            excess = row.depth + counts[row.name] - limits[row.name]
            if excess > 0:
                _refuse(row.name, limits[row.name], counts[row.name], excess)


def _refuse(queue: str, max_depth: int, count: int, excess: int) -> None:
    seconds = retry_after_seconds(queue, excess)
    if count > max_depth:
        message = f"takes {max_depth:,} waiting runs at most, and {count:,} were triggered together"
    else:
        message = f"has as many waiting runs as it takes, {max_depth:,} at most"
    raise QueueFull(f"The queue {queue!r} {message}.", (FieldError("options.queue", message),), seconds)


def retry_after_seconds(queue: str, count: int) -> int:
    """About when so many more runs of the queue will have started, by its latest starts; within a minute."""
    least, most = RETRY_AFTER_RANGE
    row = RECENT_STARTS.run(queue=queue, sample=STARTS_SAMPLED)[0]
    if not row.starts:
        return most
    seconds: float = count * row.seconds / row.starts
    return min(most, max(least, math.ceil(seconds)))
