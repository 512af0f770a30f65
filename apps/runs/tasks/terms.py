"""What a task asks of its triggers: default queue, budget, time to live, concurrency key, and the payload's schema.

Compiled once per deployment. Which deployment is the newest is read from the database for every trigger.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from trigger_sdk.values.strict_json import text_problem

from apps.http.errors import FieldError, PayloadInvalid
from apps.runs.errors import TaskNotFound, TaskRetired
from apps.runs.models import CONCURRENCY_KEY_MAX_LENGTH, TASK_ID_MAX_LENGTH, Task
from apps.storage.statements import statement

DEFAULT_MAX_ATTEMPTS = 3
NEAR_MISSES_SHOWN = 3
SHOWN_LENGTH = 200
KNOWN_LIMIT = 10_000

TASK_TERMS = statement(__file__, "task_terms")


@dataclass(frozen=True, slots=True)
class TaskTerms:
    """A task as one deployment declares it. `key_path` are the payload's fields down to the concurrency key."""

    deployment_id: UUID
    payload_schema: str
    queue: str
    max_attempts: int
    ttl_seconds: float | None
    key_path: tuple[str, ...]

    def concurrency_key(self, payload: Any) -> str:
        """The key of a run with that payload; raises PayloadInvalid with the path where there is none."""
        return concurrency_key_at(self.key_path, payload)


def key_path_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The payload's fields down to the concurrency key, of a task with these options; empty: it has none."""
    return tuple((options.get("concurrency_key") or "").split(".")[1:])


def concurrency_key_at(key_path: Sequence[str], payload: Any) -> str:
    """What stands there in the payload, as text; empty without a path. Raises PayloadInvalid where it is no key."""
    if not key_path:
        return ""
    value, path = payload, "payload"
    for name in key_path:
        path = f"{path}.{name}"
        if not isinstance(value, Mapping) or name not in value:
            _refuse_key(path, "is missing, but the task takes its concurrency key from it")
        value = value[name]
    if not isinstance(value, (str, int, float)):
        _refuse_key(path, "must be a text, a number or a boolean: the task takes its concurrency key from it")
    key = value if isinstance(value, str) else json.dumps(value)
    if len(key) > CONCURRENCY_KEY_MAX_LENGTH:
        _refuse_key(path, f"has {len(key):,} characters; a concurrency key may have {CONCURRENCY_KEY_MAX_LENGTH}")
    return key


_known: dict[str, TaskTerms] = {}
"""By task: the terms of the deployment that was its newest at the last look. Versions of tasks never change."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The newest terms of the tasks that there are, `retired` ones apart; `now` is the database's time."""

    terms: Mapping[str, TaskTerms]
    retired: Collection[str]
    now: datetime

    def of(self, task_id: str) -> TaskTerms:
        """Raises TaskNotFound (naming near misses) or TaskRetired."""
        if task_id in self.retired:
            raise TaskRetired(f"The task {task_id!r} is not in the newest deployment of its task set.")
        if task_id not in self.terms:
            refuse_unknown_task(task_id)
        return self.terms[task_id]


def read_terms(task_ids: Iterable[str]) -> Reading:
    """One query, which brings back only what is not compiled yet."""
    asked = {task_id: _known.get(task_id) for task_id in task_ids if _is_storable(task_id)}
    rows = TASK_TERMS.run_prepared(
        task_ids=list(asked), known=[None if terms is None else terms.deployment_id for terms in asked.values()]
    )
    found: dict[str, TaskTerms] = {}
    for row in rows:
        if row.task_id is not None and not row.is_retired:
            known = asked[row.task_id] if row.is_known else None
            found[row.task_id] = known or _compile(row)
    return Reading(found, {row.task_id for row in rows if row.is_retired}, rows[0].now)


def refuse_unknown_task(task_id: str) -> NoReturn:
    """Raises TaskNotFound with the ids that look alike."""
    known = Task.objects.filter(is_retired=False).values_list("id", flat=True)
    near = difflib.get_close_matches(task_id[:TASK_ID_MAX_LENGTH], known, n=NEAR_MISSES_SHOWN)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise TaskNotFound(f"There is no task {task_id[:SHOWN_LENGTH]!r}.{hint}")


def _compile(row: Any) -> TaskTerms:
    options = json.loads(row.options)
    terms = TaskTerms(
        deployment_id=row.deployment_id,
        payload_schema=row.payload_schema,
        queue=options.get("queue") or row.task_id,
        max_attempts=int((options.get("retry") or {}).get("max_attempts", DEFAULT_MAX_ATTEMPTS)),
        ttl_seconds=options.get("ttl_seconds"),
        key_path=key_path_of(options),
    )
    if len(_known) >= KNOWN_LIMIT:
        _known.clear()
    _known[row.task_id] = terms
    return terms


def _is_storable(task_id: str) -> bool:
    return text_problem(task_id) is None


def _refuse_key(path: str, message: str) -> NoReturn:
    raise PayloadInvalid(f"{path} {message}.", (FieldError(path, message),))
