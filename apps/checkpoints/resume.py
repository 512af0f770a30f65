"""Whether a deployment can continue a run behind what it has saved: the question of replay and of requeue alike.

Reads and judges; changes nothing. The task's own process checks the same when it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from apps.checkpoints.errors import DeploymentNotFound
from apps.checkpoints.models import Kind
from apps.http.errors import FieldError
from apps.runs.models import Deployment, Run, Task, TaskVersion
from apps.storage.ids import parse_public_id
from apps.storage.statements import statement

ORIGINAL = "original"
LATEST = "latest"
KEYS_SHOWN = 20

SAVED_ENTRIES = statement(__file__, "saved_entries")


@dataclass(frozen=True, slots=True)
class SavedEntry:
    """A checkpoint or step of a run without its data. `names` are those that a resume restores from it."""

    key: str
    kind: str
    index: int
    binds: tuple[str, ...]
    carries: tuple[str, ...]
    size_bytes: int
    is_edited: bool
    attempt: int

    @property
    def is_checkpoint(self) -> bool:
        return self.kind == Kind.CHECKPOINT

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.binds, *self.carries) if self.is_checkpoint else ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The deployment that goes on with a run, beside those that it is compared with; `refusals` say why it cannot.

    `original` is the run's own, None for a run that has never started.
    """

    deployment: Deployment
    version: TaskVersion
    original: Deployment | None
    newest: Deployment
    refusals: tuple[FieldError, ...] = ()

    @property
    def is_other(self) -> bool:
        return self.original is not None and self.deployment.pk != self.original.pk

    @property
    def points(self) -> dict[str, dict[str, Any]]:
        """The resume points of the chosen deployment by key, in source order."""
        return {str(point["key"]): point for point in self.version.resume_points}


def saved_entries(run_id: UUID) -> list[SavedEntry]:
    """What the run has saved until now, in commit order."""
    return saved_entries_of([run_id])[run_id]


def saved_entries_of(run_ids: Sequence[UUID]) -> dict[UUID, list[SavedEntry]]:
    """The same for several runs, each in commit order; empty for those that have saved nothing."""
    found: dict[UUID, list[SavedEntry]] = {run_id: [] for run_id in run_ids}
    for row in SAVED_ENTRIES.run(run_ids=list(run_ids)):
        found[row.run_id].append(
            SavedEntry(
                row.key,
                row.kind,
                row.index,
                tuple(row.binds),
                tuple(row.carries),
                row.size_bytes,
                row.is_edited,
                row.attempt,
            )
        )
    return found


def choose_deployment(run: Run, wanted: str) -> Choice:
    """`wanted` is "original" (the newest for a run that never started), "latest" or a public id.

    `run` was read `with_deployments()`. Raises DeploymentNotFound.
    """
    task, original = run.task, run.deployment
    if wanted == ORIGINAL and original is not None:
        deployment = original
    elif wanted in (ORIGINAL, LATEST):
        deployment = task.deployment
    else:
        deployment = _deployment_of(task, wanted)
    version = TaskVersion.objects.filter(deployment=deployment, task_id=task.id).first()
    if version is None:
        raise DeploymentNotFound(f"The deployment {wanted} ({deployment}) does not have the task {task.id!r}.")
    refusals: tuple[FieldError, ...] = ()
    if task.is_retired and wanted in (ORIGINAL, LATEST) and deployment is not original:
        message = f"the task {task.id!r} is retired: it is not in the newest deployment of {task.task_set!r}"
        refusals = (FieldError("deployment", message),)
    return Choice(deployment, version, original, task.deployment, refusals)


def find_deployment(wanted: str) -> Deployment:
    """By its public id, without its archive; raises DeploymentNotFound."""
    identifier = parse_public_id("dep", wanted)
    found = None if identifier is None else Deployment.objects.filter(id=identifier).defer("archive").first()
    if found is None:
        raise DeploymentNotFound(
            f"There is no deployment {wanted[:64]!r}. It is {ORIGINAL!r}, {LATEST!r} or an id as dep_…."
        )
    return found


def _deployment_of(task: Task, wanted: str) -> Deployment:
    found = find_deployment(wanted)
    if found.task_set != task.task_set:
        message = (
            f"{wanted} is a deployment of the task set {found.task_set!r}; {task.id!r} belongs to {task.task_set!r}."
        )
        raise DeploymentNotFound(message)
    return found


def resume_key(entries: Sequence[SavedEntry]) -> str | None:
    """The checkpoint that the code continues after; None: it begins at the start. Steps are no place to continue."""
    return next((entry.key for entry in reversed(entries) if entry.is_checkpoint), None)


def holders(entries: Sequence[SavedEntry]) -> dict[str, str]:
    """Each restored name with the key that it is restored from: the last one that holds it."""
    return {name: entry.key for entry in entries for name in entry.names}


def resume_refusals(choice: Choice, entries: Sequence[SavedEntry]) -> list[FieldError]:
    """Why the chosen code cannot continue behind these entries; empty where it can."""
    key = resume_key(entries)
    points = choice.points
    if key is not None and key not in points:
        there = ", ".join(map(repr, list(points)[:KEYS_SHOWN])) or "none"
        message = f"{choice.deployment} has no checkpoint {key!r} to continue after; it has {there}"
        return [FieldError("deployment", message)]
    found = []
    held = holders(entries)
    missing = [] if key is None else [name for name in points[key].get("needs", ()) if name not in held]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        found.append(f"{choice.deployment} needs {names} after {key!r}, which the stored checkpoints do not hold")
    keys = list(points)
    # Steps too: what was a step there and is a checkpoint here would be refused when it is saved, at each attempt.
    to_come = set(keys if key is None else keys[keys.index(key) + 1 :])
    twice = [repr(entry.key) for entry in entries if entry.key in to_come]
    if twice:
        saved, after = ", ".join(twice[:KEYS_SHOWN]), "" if key is None else f" after {key!r}"
        found.append(f"{choice.deployment} saves {saved}{after}, but the run has saved it before")
    return [FieldError("deployment", message) for message in found]
