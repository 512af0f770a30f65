"""A task's limits as its newest deployment declares them and as people have set them, and how it fails. Reads only.

Changing them is in `queues.controls`; the claim reads the same columns in its own statement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.http.answers import timestamp
from apps.runs.models import TaskControl
from apps.runs.retry import COOLING_FROM

LIMIT_NAMES = ("max_concurrency", "max_concurrency_total", "rate_limit", "rate_limit_per_key")


@dataclass(frozen=True, slots=True)
class Limit:
    """`declared` by the newest deployment, `override` set by hand; None: no such limit."""

    name: str
    declared: int | str | None
    override: int | str | None
    words: str = ""
    """What a page says behind the value."""

    @property
    def effective(self) -> int | str | None:
        return self.declared if self.override is None else self.override

    @property
    def is_overridden(self) -> bool:
        return self.override is not None


@dataclass(frozen=True, slots=True)
class TaskLimits:
    """`failing_count`: distinct runs that have failed since the task's last success."""

    is_paused: bool
    limits: Sequence[Limit]
    failing_count: int
    cooling_until: datetime | None

    @property
    def is_cooling(self) -> bool:
        return self.failing_count >= COOLING_FROM

    @property
    def in_force(self) -> Sequence[Limit]:
        return [limit for limit in self.limits if limit.effective is not None]


def task_limits(options: Mapping[str, Any], control: TaskControl | None) -> TaskLimits:
    """`options` are those of the task's version in its newest deployment; `control` is None where nothing is set."""
    per_key = "at once per key" if options.get("concurrency_key") else "at once"
    words = {
        "max_concurrency": per_key, "max_concurrency_total": "at once in all", "rate_limit_per_key": "per key"
    }  # fmt: skip
    limits = [
        Limit(name, options.get(name), (getattr(control, name) or None) if control else None, words.get(name, ""))
        for name in LIMIT_NAMES
    ]
    if control is None:
        return TaskLimits(is_paused=False, limits=limits, failing_count=0, cooling_until=None)
    return TaskLimits(control.is_paused, limits, len(control.failing_runs), control.cooling_until)


def limits_row(found: TaskLimits) -> dict[str, Any]:
    """As the API shows it."""
    return {
        "is_paused": found.is_paused,
        "limits": {
            limit.name: {"declared": limit.declared, "override": limit.override, "effective": limit.effective}
            for limit in found.limits
        },
        "failing_count": found.failing_count,
        "cooling_until": timestamp(found.cooling_until) if found.is_cooling else None,
    }
