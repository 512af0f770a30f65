"""What the requeue form offers: each deployment with where the run would go on there, or why it could not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from apps.checkpoints.errors import DeploymentNotFound
from apps.checkpoints.resume import LATEST, ORIGINAL
from apps.http.errors import FieldError
from apps.queues.dead_letters.one import requeue_preview
from apps.runs.models import Run
from apps.runs.reads import find_run


@dataclass(frozen=True, slots=True)
class RequeueOption:
    """A deployment that may go on with the run; `resumes_after` is empty for the start."""

    value: str
    name: str
    note: str
    resumes_after: str
    is_proposed: bool
    refusals: Sequence[str]
    warnings: Sequence[str]

    @property
    def is_possible(self) -> bool:
        return not self.refusals


@dataclass(frozen=True, slots=True)
class RequeueForm:
    run_id: str
    task: str
    options: Sequence[RequeueOption]
    chosen: str
    max_attempts: int
    detail: str = ""

    @property
    def is_possible(self) -> bool:
        return any(option.is_possible for option in self.options)


def requeue_form_of(run_id: UUID, wanted: str = "", detail: str = "") -> RequeueForm:
    """The newest code is proposed where there is a newer one; chosen is what was wanted, else the first that can.

    Raises RunNotFound, and IllegalMove where the run is no dead letter.
    """
    run = find_run(run_id, Run.objects.with_deployments())
    is_outdated = run.deployment_id is not None and run.deployment_id != run.task.deployment_id
    options = [_option(run, LATEST, is_proposed=True)] if is_outdated else []
    options.append(_option(run, ORIGINAL, is_proposed=False))
    possible = [option.value for option in options if option.is_possible]
    chosen = wanted if wanted in possible else next(iter(possible), "")
    return RequeueForm(run.public_id, run.task_id, options, chosen, run.max_attempts, detail)


def _option(run: Run, value: str, *, is_proposed: bool) -> RequeueOption:
    deployment = run.task.deployment if value == LATEST else run.deployment or run.task.deployment
    is_newest = deployment == run.task.deployment
    note = "the newest code" if is_newest else "the code that it failed on"
    try:
        shown = requeue_preview(run_id=run.id, deployment=value)
    except DeploymentNotFound as error:
        return RequeueOption(value, str(deployment), note, "", is_proposed, [error.detail], [])
    refusals = [_sentence(refusal) for refusal in shown.refusals]
    return RequeueOption(value, str(deployment), note, shown.resumes_after or "", is_proposed, refusals, shown.warnings)


def _sentence(refusal: FieldError) -> str:
    is_said = refusal.path == "deployment" or refusal.message.startswith(refusal.path)
    return refusal.message if is_said else f"{refusal.path}: {refusal.message}"
