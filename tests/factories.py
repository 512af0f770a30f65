"""Rows for tests: plain functions with keyword overrides. They alone may set states without a verb.

Every row obeys the database's constraints: a running run holds a lease, a final one its time. Values are JSON text.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, User

from apps.checkpoints.models import Checkpoint
from apps.runs.models import Attempt, Deployment, LogLine, Run, RunValue, Task, TaskVersion
from apps.runs.states import DUE_STATES, FINAL_STATES, Outcome, RunState
from apps.storage.ids import uuid7
from apps.workers.models import Worker

_numbers = count(1)

DEFAULT_TASK = "process-order"
ORDER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"order_id": {"type": "string"}},
    "required": ["order_id"],
    "additionalProperties": False,
}
ANY_SCHEMA: dict[str, Any] = {"type": "object"}


def make_deployment(task_set: str = "orders", **overrides: Any) -> Deployment:
    """The next version of the task set; its archive is not a real tar unless one is given."""
    versions = Deployment.objects.filter(task_set=task_set).order_by("-version").values_list("version", flat=True)
    version = overrides.pop("version", (versions.first() or 0) + 1)
    archive = overrides.pop("archive", f"{task_set} {version} {next(_numbers)}".encode())
    content_hash = overrides.pop("content_hash", hashlib.sha256(archive or b"").digest())
    return Deployment.objects.create(
        task_set=task_set, version=version, archive=archive, content_hash=content_hash, **overrides
    )


def make_task(
    id: str = DEFAULT_TASK,  # noqa: A002 - the column's name
    *,
    deployment: Deployment | None = None,
    options: dict[str, Any] | None = None,
    payload_schema: dict[str, Any] | None = None,
    resume_points: Sequence[dict[str, Any]] = (),
    segments: Sequence[str] = (),
    file: str = "tasks.py",
    line: int = 1,
    **overrides: Any,
) -> Task:
    """A task with its version in the deployment; moves an existing task to that deployment."""
    deployment = deployment or make_deployment()
    task, _ = Task.objects.update_or_create(
        id=id, defaults={"task_set": deployment.task_set, "deployment": deployment, **overrides}
    )
    TaskVersion.objects.create(
        deployment=deployment,
        task_id=id,
        options=options or {},
        payload_schema=ANY_SCHEMA if payload_schema is None else payload_schema,
        resume_points=list(resume_points),
        segments=list(segments),
        file=file,
        line=line,
    )
    return task


def make_run(
    task: Task | str | None = None,
    *,
    state: RunState | str = RunState.PENDING,
    payload: str = '{"order_id":"A1"}',
    output: str | None = None,
    error: dict[str, Any] | None = None,
    **overrides: Any,
) -> Run:
    """A run in any state, with what the constraints of that state ask for. `payload` and `output` are JSON text."""
    task = _task(task)
    state = RunState(state)
    fields = {"queue": task.id, **_facts_of(state), **overrides}
    if state == RunState.COMPLETED and output is None:
        output = "null"
    if state not in (RunState.PENDING, RunState.DELAYED, RunState.CANCELED):
        fields.setdefault("deployment", task.deployment)
    run = Run.objects.create(task=task, state=state, **fields)
    RunValue.objects.create(run=run, payload=payload, output=output, error=error)
    return run


def make_attempt(run: Run, *, outcome: Outcome | str = "", number: int | None = None, **overrides: Any) -> Attempt:
    """The run's next attempt; alive (with the run's own token and worker) unless an outcome is given."""
    if number is None:
        number = max([0, *run.attempts.values_list("number", flat=True)]) + 1
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "token": run.token or uuid4().bytes,
        "worker_id": run.worker_id or uuid4(),
        "poll_id": uuid4(),
        "deployment": run.deployment or run.task.deployment,
        "is_confirmed": True,
        "started_at": now,
        "finished_at": now if outcome else None,
    }
    if run.attempt_count < number:
        run.attempt_count = number
        run.save(update_fields=["attempt_count"])
    return Attempt.objects.create(run=run, number=number, outcome=outcome, **{**fields, **overrides})


def make_checkpoint(
    run: Run,
    key: str = "order-fetched",
    *,
    data: str = '{"order":{"id":"A1"}}',
    binds: Iterable[str] = (),
    carried: str | None = None,
    index: int | None = None,
    **overrides: Any,
) -> Checkpoint:
    """The run's next checkpoint. `data` and `carried` are JSON text."""
    index = run.checkpoints.count() if index is None else index
    names = list(binds)
    hashed = "\0".join([data, carried or "", json.dumps(names)]).encode()
    fields = {
        "attempt": max(run.attempt_count, 1),
        "content_hash": hashlib.sha256(hashed).digest(),
        "size_bytes": len(data.encode()) + len((carried or "").encode()),
    }
    return Checkpoint.objects.create(
        run=run, key=key, index=index, data=data, binds=names, carried=carried, **{**fields, **overrides}
    )


def make_log_line(run: Run, message: str = "charging the card", **overrides: Any) -> LogLine:
    """The run's next line, of attempt 1 unless another is named."""
    attempt = overrides.pop("attempt", max(run.attempt_count, 1))
    fields = {
        "sequence": run.log_lines.filter(attempt=attempt).count() + 1,
        "level": "info",
        "source": "log",
        "logged_at": datetime.now(UTC),
    }
    return LogLine.objects.create(run=run, attempt=attempt, message=message, **{**fields, **overrides})


def make_worker(**overrides: Any) -> Worker:
    fields: dict[str, Any] = {
        "id": uuid7(),
        "name": f"worker-{next(_numbers)}",
        "executor": "process",
        "concurrency": 4,
        "protocol_version": "1.0",
    }
    return Worker.objects.create(**{**fields, **overrides})


def make_user(role: str = "admin", *, username: str = "", password: str = "a-long-password", **overrides: Any) -> User:
    """A user in the group of that role; no role: `role=""`."""
    user: User = get_user_model().objects.create_user(
        username=username or f"user-{next(_numbers)}", password=password, **overrides
    )
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])
    return user


def make_key(role: str = "admin", *, name: str = "", **overrides: Any) -> str:
    """The text of a new API key, as a client sends it. Overrides are columns of the row."""
    from apps.access.keys import create_key

    key, text = create_key(name=name or f"key-{next(_numbers)}", role=role)
    if overrides:
        type(key).objects.filter(pk=key.pk).update(**overrides)
    return text


def bearer(role: str = "admin") -> dict[str, str]:
    """The header of a new key of that role, for the keyword `headers=` of a test client."""
    return {"Authorization": f"Bearer {make_key(role)}"}


def _task(task: Task | str | None) -> Task:
    if isinstance(task, Task):
        return task
    found = Task.objects.filter(id=task or DEFAULT_TASK).first()
    return found or make_task(task or DEFAULT_TASK)


def _facts_of(state: RunState) -> dict[str, Any]:
    now = datetime.now(UTC)
    if state == RunState.RUNNING:
        lease: dict[str, Any] = {"token": uuid4().bytes, "worker_id": uuid7(), "lease_end": now + timedelta(minutes=1)}
        return {**lease, "started_at": now, "attempt_count": 1}
    if state in DUE_STATES:
        return {"due_at": now + timedelta(minutes=5)}
    if state in FINAL_STATES:
        return {"finished_at": now}
    return {}
