"""Dead letters: making a run pending again, from its last checkpoint, after a person has looked at it.

The same run goes on, so its payload and data stay as they are; with edits it is a replay (`checkpoints.replay`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import F

from apps.checkpoints.code_changes import CodeChanges
from apps.checkpoints.preview import changed_code_warnings
from apps.checkpoints.resume import (
    ORIGINAL,
    Choice,
    SavedEntry,
    choose_deployment,
    find_earlier_run,
    resume_key,
    resume_refusals,
    saved_entries,
)
from apps.queues.errors import RequeueRefused
from apps.runs.broadcast import announce_runs
from apps.runs.errors import FieldError, IllegalMove, PayloadInvalid, RunNotFound
from apps.runs.models import Deployment, Run, RunValue
from apps.runs.payloads import validate_payload
from apps.runs.statements import statement
from apps.runs.states import RunState

DROP_REASON = statement(__file__, "drop_reason")


@dataclass(frozen=True, slots=True)
class RequeuePreview:
    """What a requeue would do. `is_code_changed` says whether any code that the run will not repeat is another one now;
    None: unknown."""

    resumes_after: str | None
    deployment: Deployment
    is_code_changed: bool | None
    refusals: Sequence[FieldError]
    warnings: Sequence[str]


def requeue(*, run_id: UUID, deployment: str = ORIGINAL) -> Run:
    """The dead letter as a pending run with a fresh budget, on its own deployment, "latest" or one named by its id.

    Its attempt numbers go on. Raises RunNotFound, IllegalMove where it is no dead letter (any more),
    DeploymentNotFound, and RequeueRefused where the chosen code could not continue.
    """
    with transaction.atomic():
        # Locked first, so that what is judged is what goes on: a run that others requeue meanwhile saves more.
        if Run.objects.select_for_update(no_key=True).filter(id=run_id).only("id").first() is None:
            raise RunNotFound("There is no such run.")
        run = find_earlier_run(run_id)
        _refuse_other_states(run)
        choice = choose_deployment(run, deployment)
        if refusals := _refusals(run, choice, saved_entries(run.id)):
            raise RequeueRefused("; ".join(f"{error.path}: {error.message}" for error in refusals[:3]), tuple(refusals))
        moved = Run.objects.filter(id=run_id, state=RunState.DEAD_LETTER).update(
            state=RunState.PENDING,
            deployment=choice.deployment,
            finished_at=None,
            due_at=None,
            is_cancel_requested=False,
            budget_base=F("attempt_count"),
            version=F("version") + 1,
        )
        assert moved == 1, "the row is locked and was a dead letter"
        DROP_REASON.run(run_id=run_id)
        announce_runs([run_id], is_pending=True)
    run.refresh_from_db()
    return run


def requeue_preview(*, run_id: UUID, deployment: str = ORIGINAL) -> RequeuePreview:
    """Raises RunNotFound, IllegalMove and DeploymentNotFound; why the code could not continue is in `refusals`."""
    run = find_earlier_run(run_id)
    _refuse_other_states(run)
    choice = choose_deployment(run, deployment)
    entries = saved_entries(run.id)
    changes = CodeChanges(run, choice, entries)
    changed = [entry.key for entry in entries if changes.of_entry(entry)]
    return RequeuePreview(
        resumes_after=resume_key(entries),
        deployment=choice.deployment,
        is_code_changed=changes.of_all(),
        refusals=_refusals(run, choice, entries),
        warnings=list(changed_code_warnings(choice, changed)),
    )


def _refuse_other_states(run: Run) -> None:
    if run.state != RunState.DEAD_LETTER:
        state = RunState(run.state)
        raise IllegalMove(f"A {state.label.lower()} run cannot be requeued, only a dead letter.", state)


def _refusals(run: Run, choice: Choice, entries: Sequence[SavedEntry]) -> list[FieldError]:
    found = [*choice.refusals, *resume_refusals(choice, entries)]
    if not choice.is_other and choice.original is not None:
        return found
    payload = json.loads(RunValue.objects.only("payload").get(run_id=run.id).payload)
    try:
        validate_payload(payload, json.dumps(choice.version.payload_schema))
    except PayloadInvalid as refusal:
        found += refusal.errors
    return found
