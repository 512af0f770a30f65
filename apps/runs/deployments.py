"""Registering a deployment: a new version of a task set takes over its tasks, whole or not at all.

Packing a folder is `archives.py`; reading its tasks needs the user's code and happens in a child process, never here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
from django.db import transaction
from trigger_sdk.options import RATE

from apps.access import audit
from apps.access.permissions import Action, Actor
from apps.runs.errors import DeploymentRefused, FieldError
from apps.runs.models import (
    CONCURRENCY_LIMIT,
    MAX_ATTEMPTS_LIMIT,
    QUEUE_MAX_LENGTH,
    TASK_ID_MAX_LENGTH,
    Deployment,
    Task,
    TaskVersion,
)
from apps.runs.statements import statement

TASK_SET_MAX_LENGTH = 128

LOCK_DEPLOYMENTS = statement(__file__, "lock_deployments")


@dataclass(frozen=True, slots=True)
class Registration:
    """`is_new` is false where the newest deployment of the set has the same content already; `retired` are the ids of
    tasks that it no longer has."""

    deployment: Deployment
    is_new: bool
    retired: tuple[str, ...] = ()


def register(*, task_set: str, archive: bytes, manifest: Mapping[str, Any], actor: Actor) -> Registration:
    """Makes the folder the newest deployment of its task set; runs of earlier deployments stay on theirs.

    `manifest` is what `trigger_sdk.agent inspect` printed. Raises DeploymentRefused, and then nothing has changed.
    """
    tasks: Sequence[Mapping[str, Any]] = manifest["tasks"]
    _refuse_wrong_manifest(task_set, tasks, manifest.get("errors") or ())
    content_hash = hashlib.sha256(archive).digest()
    with transaction.atomic():
        LOCK_DEPLOYMENTS.run()
        newest = Deployment.objects.filter(task_set=task_set).order_by("-version").defer("archive").first()
        if newest is not None and bytes(newest.content_hash) == content_hash and _is_same(newest, tasks):
            return Registration(newest, is_new=False)
        _refuse_strangers_ids(task_set, tasks)
        deployment = Deployment.objects.create(
            task_set=task_set,
            version=1 if newest is None else newest.version + 1,
            archive=archive,
            content_hash=content_hash,
        )
        TaskVersion.objects.bulk_create([_version(deployment, task) for task in tasks])
        retired = _move_tasks(deployment, [task["id"] for task in tasks])
        audit.record(
            actor,
            Action.DEPLOYMENTS_REGISTER,
            deployment.public_id,
            task_set=task_set,
            version=deployment.version,
            tasks=[task["id"] for task in tasks],
            retired=retired,
        )
    return Registration(deployment, is_new=True, retired=tuple(retired))


def _is_same(newest: Deployment, tasks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the manifest, too, is what is stored: a newer SDK may read more from the same folder."""
    columns = ("task_id", "options", "payload_schema", "resume_points", "segments", "file", "line")
    stored = {row[0]: row for row in newest.task_versions.values_list(*columns)}
    offered = {
        row.task_id: tuple(getattr(row, name) for name in columns) for row in (_version(newest, t) for t in tasks)
    }
    return stored == offered


def _version(deployment: Deployment, task: Mapping[str, Any]) -> TaskVersion:
    return TaskVersion(
        deployment=deployment,
        task_id=task["id"],
        options=task["options"],
        payload_schema=task["payload_schema"],
        resume_points=task["resume_points"],
        segments=task.get("segments", []),
        file=task["file"],
        line=task["line"],
    )


def _move_tasks(deployment: Deployment, ids: Sequence[str]) -> list[str]:
    """Points the tasks at the deployment; returns the ids that it no longer has and that are retired by it."""
    Task.objects.bulk_create(
        [Task(id=task_id, task_set=deployment.task_set, deployment=deployment) for task_id in sorted(ids)],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["deployment", "is_retired"],
    )
    missing = Task.objects.filter(task_set=deployment.task_set, is_retired=False).exclude(id__in=ids)
    retired = sorted(missing.values_list("id", flat=True))
    missing.update(is_retired=True)
    return retired


def _refuse_wrong_manifest(
    task_set: str, tasks: Sequence[Mapping[str, Any]], errors: Sequence[Mapping[str, Any]]
) -> None:
    found = [FieldError(f"{e['file']}:{e['line']}:{e['column']}", f"{e['message']} [{e['code']}]") for e in errors]
    if not 0 < len(task_set) <= TASK_SET_MAX_LENGTH or not task_set.isprintable():
        found.append(FieldError("name", f"must have 1 to {TASK_SET_MAX_LENGTH} printable characters"))
    if not tasks and not found:
        found.append(FieldError(task_set, "no task was found: give a function the decorator @task(id=…)"))
    seen: set[str] = set()
    for task in tasks:
        place = f"{task['file']}:{task['line']}"
        found += [FieldError(place, f"task {task['id']!r}: {message}") for message in _complaints(task)]
        if task["id"] in seen:
            found.append(FieldError(place, f"the task id {task['id']!r} is used twice"))
        seen.add(task["id"])
    if found:
        raise DeploymentRefused(f"{found[0].path}: {found[0].message}", tuple(found))


def _complaints(task: Mapping[str, Any]) -> Iterator[str]:
    """What is out of the server's limits; the SDK checks the same, but a manifest may be another version's."""
    if not 0 < len(task["id"]) <= TASK_ID_MAX_LENGTH or not task["id"].isprintable() or "/" in task["id"]:
        yield f"the id must have 1 to {TASK_ID_MAX_LENGTH} printable characters and no slash"
    options = task["options"]
    queue = options.get("queue")
    if queue is not None and (not isinstance(queue, str) or not 0 < len(queue) <= QUEUE_MAX_LENGTH):
        yield f"queue must have 1 to {QUEUE_MAX_LENGTH} characters"
    retry = options.get("retry") or {}
    yield from _number_complaints("retry.max_attempts", retry.get("max_attempts"), 1, MAX_ATTEMPTS_LIMIT, is_whole=True)
    for name in ("initial", "max"):
        yield from _number_complaints(f"retry.{name}", retry.get(name), 0, 365 * 86_400)
    yield from _number_complaints("retry.factor", retry.get("factor"), 1, 1000)
    yield from _number_complaints("max_duration", options.get("max_duration"), 1, 365 * 86_400)
    for name in ("max_concurrency", "max_concurrency_total"):
        yield from _number_complaints(name, options.get(name), 1, CONCURRENCY_LIMIT, is_whole=True)
    for name in ("rate_limit", "rate_limit_per_key"):
        if not _is_rate(options.get(name)):
            yield f"{name} must be a text such as 100/m, not {options[name]!r}"
    try:
        jsonschema_rs.Draft202012Validator(task["payload_schema"])
    except ValueError as error:
        yield f"its payload schema is not a JSON Schema: {error}"
    if not _is_storable(task):
        yield "its options, schema or resume points hold NUL or a lone surrogate, which cannot be stored"


def _is_rate(value: Any) -> bool:
    """Whether a claim can read the rate: one that it cannot would stop every claim."""
    return value is None or (isinstance(value, str) and RATE.match(value) is not None)


def _is_storable(task: Mapping[str, Any]) -> bool:
    try:
        return b"\\u0000" not in json.dumps(task, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False


def _number_complaints(name: str, value: Any, low: float, high: float, *, is_whole: bool = False) -> Iterator[str]:
    if value is None:
        return
    kinds = (int,) if is_whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        yield f"{name} must be {'a whole number' if is_whole else 'a number'} from {low:,} to {high:,}, not {value!r}"


def _refuse_strangers_ids(task_set: str, tasks: Sequence[Mapping[str, Any]]) -> None:
    places = {task["id"]: f"{task['file']}:{task['line']}" for task in tasks}
    owners = Task.objects.filter(id__in=places).exclude(task_set=task_set).values_list("id", "task_set").order_by("id")
    found = tuple(
        FieldError(places[task_id], f"the task id {task_id!r} belongs to the task set {owner!r}")
        for task_id, owner in owners
    )
    if found:
        raise DeploymentRefused(f"{found[0].path}: {found[0].message}", found)
