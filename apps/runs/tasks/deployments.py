"""Registers deployments: a new version of a task set takes over its tasks, all or nothing.

`archives.py` packs the folder; reading its tasks runs the user's code, so it happens in a child process, never here.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.access import audit
from apps.access.permissions import Action, Actor
from apps.http.errors import FieldError
from apps.live.notify import announce
from apps.live.topics import TASKS
from apps.runs.errors import DeploymentRefused
from apps.runs.models import Deployment, Task, TaskVersion
from apps.runs.tasks.manifests import read_manifest, task_place
from apps.storage.statements import statement

LOCK_DEPLOYMENTS = statement(__file__, "lock_deployments")


@dataclass(frozen=True, slots=True)
class Registration:
    """`is_new` is false if the newest deployment of the set already has the same content; `retired` are the ids of
    tasks that it no longer has."""

    deployment: Deployment
    is_new: bool
    retired: tuple[str, ...] = ()


def register(
    *, task_set: str, archive: bytes, manifest: Mapping[str, Any], actor: Actor, lock: str = ""
) -> Registration:
    """Makes the folder the newest deployment of its task set; runs of earlier deployments stay on theirs.

    `manifest` is what `trigger_sdk.agent inspect` or another SDK printed, `lock` what workers must install. Raises
    DeploymentRefused, and then nothing has changed.
    """
    tasks = read_manifest(task_set, manifest)
    content_hash = hashlib.sha256(archive).digest()
    with transaction.atomic():
        LOCK_DEPLOYMENTS.run()
        newest = Deployment.objects.filter(task_set=task_set).order_by("-version").defer("archive").first()
        is_same_code = newest is not None and bytes(newest.content_hash) == content_hash and newest.lock == lock
        if newest is not None and is_same_code and _is_same(newest, tasks):
            return Registration(newest, is_new=False)
        _refuse_strangers_ids(task_set, tasks)
        deployment = Deployment.objects.create(
            task_set=task_set,
            version=1 if newest is None else newest.version + 1,
            archive=archive,
            content_hash=content_hash,
            lock=lock,
        )
        TaskVersion.objects.bulk_create([_version(deployment, task) for task in tasks])
        ids = [task["id"] for task in tasks]
        retired = _move_tasks(deployment, ids)
        announce(TASKS, [*ids, *retired])
        audit.record(
            actor,
            Action.DEPLOYMENTS_REGISTER,
            deployment.public_id,
            task_set=task_set,
            version=deployment.version,
            tasks=ids,
            retired=retired,
        )
    return Registration(deployment, is_new=True, retired=tuple(retired))


def known_lock(archive: bytes) -> str:
    """The newest lock of the same folder, byte for byte; empty if it was never deployed.

    A folder that did not change keeps the versions that its workers have.
    """
    found = Deployment.objects.filter(content_hash=hashlib.sha256(archive).digest(), lock__isnull=False)
    return found.order_by("-created_at").values_list("lock", flat=True).first() or ""


def _is_same(newest: Deployment, tasks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the manifest also equals what is stored: a newer SDK may read more from the same folder."""
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
        segments=task.get("segments") or [],
        file=task["file"],
        line=task["line"],
    )


def _move_tasks(deployment: Deployment, ids: Sequence[str]) -> list[str]:
    """Points the tasks at the deployment; returns the ids that it no longer has, which are now retired."""
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


def _refuse_strangers_ids(task_set: str, tasks: Sequence[Mapping[str, Any]]) -> None:
    places = {task["id"]: task_place(task) for task in tasks}
    owners = Task.objects.filter(id__in=places).exclude(task_set=task_set).values_list("id", "task_set").order_by("id")
    found = tuple(
        FieldError(places[task_id], f"the task id {task_id!r} belongs to the task set {owner!r}")
        for task_id, owner in owners
    )
    if found:
        raise DeploymentRefused(f"{found[0].path}: {found[0].message}", found)
