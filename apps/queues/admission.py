"""How deep a queue may get: a trigger that would exceed it is refused as a whole. Exact, because a queue with such a
limit takes its triggers one after another; queues without one are not locked."""

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
    """`max_depth` counts pending and delayed runs. Runs added by retries and requeues are counted, never refused."""

    def applies(self, queues: Collection[str]) -> bool:
        return bool(BOUNDED_QUEUES.run_prepared(queues=list(queues)))

    def admit(self, counts: Mapping[str, int]) -> None:
        """Raises QueueFull; holds the queues' rows until the transaction ends."""
        limits = {row.name: row.max_depth for row in LOCK_DEPTHS.run(queues=list(counts))}
        # Counting stops at the limit: beyond it the count would only say how full a full queue is.
        for row in QUEUE_DEPTHS.run(queues=list(limits), limits=list(limits.values())):
            excess = row.depth + counts[row.name] - limits[row.name]
            if excess > 0:
                _refuse(row.name, limits[row.name], counts[row.name], excess)


def _refuse(queue: str, max_depth: int, count: int, excess: int) -> None:
    seconds = retry_after_seconds(queue, excess)
    if count > max_depth:
        message = f"accepts at most {max_depth:,} waiting runs, but {count:,} were triggered together"
    else:
        message = f"is full: it accepts at most {max_depth:,} waiting runs"
    raise QueueFull(f"The queue {queue!r} {message}.", (FieldError("options.queue", message),), seconds)


def retry_after_seconds(queue: str, count: int) -> int:
    """Roughly when this many more runs of the queue will have started, judged by recent starts; at most a minute."""
    least, most = RETRY_AFTER_RANGE
    row = RECENT_STARTS.run(queue=queue, sample=STARTS_SAMPLED)[0]
    if not row.starts:
        return most
    seconds: float = count * row.seconds / row.starts
    return min(most, max(least, math.ceil(seconds)))
