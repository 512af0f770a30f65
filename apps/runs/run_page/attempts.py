"""The attempts of a run as the run page lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from apps.runs.badges import Badge, outcome_badge
from apps.runs.models import Attempt
from apps.runs.run_page.failures import Failure


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """`is_requeued`: a person made the run pending again before it, with a fresh budget."""

    number: int
    badge: Badge
    version: str
    is_requeued: bool
    worker: str
    container: str
    start_kind: str
    resumed_from: str
    exit_code: int | None
    peak_memory_bytes: int | None
    seconds: float | None
    live_since: datetime | None
    started_at: datetime
    failure: Failure | None


def attempt_line(attempt: Attempt, names: Mapping[UUID, str], budget_base: int) -> AttemptLine:
    begun = attempt.started_at or attempt.claimed_at
    return AttemptLine(
        number=attempt.number,
        badge=outcome_badge(attempt.outcome),
        version=f"v{attempt.deployment.version}" if attempt.deployment else "",
        is_requeued=0 < budget_base == attempt.number - 1,
        worker=names.get(attempt.worker_id, ""),
        container=attempt.container,
        start_kind=attempt.start_kind,
        resumed_from=attempt.resumed_from or "",
        exit_code=attempt.exit_code,
        peak_memory_bytes=attempt.peak_memory_bytes,
        seconds=seconds_between(begun, attempt.finished_at),
        live_since=begun if attempt.finished_at is None else None,
        started_at=begun,
        failure=Failure.of(attempt.error),
    )


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start is not None and end is not None else None
