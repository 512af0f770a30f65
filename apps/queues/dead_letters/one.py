"""Dead letters, one by one: made pending again from the last checkpoint, or closed, after a person has looked at them.

The same run goes on, so its payload and data stay as they are; with edits it is a replay (`checkpoints.replay`). Many
at once are in `many.py`, which judges each as this module does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from apps.checkpoints.replay.code_changes import CodeChanges
from apps.checkpoints.replay.preview import changed_code_warnings
from apps.checkpoints.resume import (
    ORIGINAL,
    Choice,
    SavedEntry,
    choose_deployment,
    resume_key,
    resume_refusals,
    saved_entries,
)
from apps.http.errors import FieldError, PayloadInvalid
from apps.live.notify import announce_runs
from apps.queues.errors import NoteInvalid, RequeueRefused
from apps.runs.errors import IllegalMove
from apps.runs.models import Deployment, Run, RunValue
from apps.runs.reads import find_run
from apps.runs.states import RunState, state_words
from apps.runs.trigger.payloads import load_stored, validate_payload
from apps.storage.statements import statement

NOTE_MAX_LENGTH = 2000

REQUEUE_RUNS = statement(__file__, "requeue_runs")
DISCARD_RUNS = statement(__file__, "discard_runs")


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
        find_run(run_id, Run.objects.select_for_update(no_key=True).only("id"))
        run = find_run(run_id, Run.objects.with_deployments())
        _refuse_other_states(run)
        choice = choose_deployment(run, deployment)
        if refusals := requeue_refusals(run, choice, saved_entries(run.id)):
            raise RequeueRefused(refusal_text(refusals), tuple(refusals))
        moved = REQUEUE_RUNS.run(run_ids=[run_id], deployment_ids=[choice.deployment.id], delays=[None], base_at=None)
        assert len(moved) == 1, "the row is locked and was a dead letter"
        announce_runs([run_id], is_pending=True)
    run.refresh_from_db()
    return run


def discard(*, run_id: UUID, note: str) -> Run:
    """Closes the dead letter; the note stays with it.

    Raises RunNotFound, IllegalMove where it is no dead letter (any more), and NoteInvalid.
    """
    note = checked_note(note)
    with transaction.atomic():
        moved = DISCARD_RUNS.run(run_ids=[run_id], note=note)
        announce_runs([row.id for row in moved])
    run = find_run(run_id, Run.objects.all())
    if not moved:
        raise IllegalMove(state_refusal(run.state, "discarded"), run.state)
    return run


def checked_note(note: str) -> str:
    """The note without blanks around it; raises NoteInvalid."""
    text = note.strip()
    message = ""
    if not text:
        message = "must say why"
    elif len(text) > NOTE_MAX_LENGTH:
        message = f"may have {NOTE_MAX_LENGTH:,} characters, not {len(text):,}"
    elif "\x00" in text:
        message = "contains NUL"
    if message:
        raise NoteInvalid(f"note {message}", (FieldError("note", message),))
    return text


def requeue_preview(*, run_id: UUID, deployment: str = ORIGINAL) -> RequeuePreview:
    """Raises RunNotFound, IllegalMove and DeploymentNotFound; why the code could not continue is in `refusals`."""
    run = find_run(run_id, Run.objects.with_deployments())
    _refuse_other_states(run)
    choice = choose_deployment(run, deployment)
    entries = saved_entries(run.id)
    changes = CodeChanges(run, choice, entries)
    changed = [entry.key for entry in entries if changes.of_entry(entry)]
    return RequeuePreview(
        resumes_after=resume_key(entries),
        deployment=choice.deployment,
        is_code_changed=changes.of_all(),
        refusals=requeue_refusals(run, choice, entries),
        warnings=list(changed_code_warnings(choice, changed)),
    )


def state_refusal(state: str, wanted: str) -> str:
    """Why a run in that state cannot be `requeued` or `discarded`."""
    return f"A {state_words(state)} run cannot be {wanted}, only a dead letter."


def refusal_text(refusals: Sequence[FieldError]) -> str:
    return "; ".join(f"{error.path}: {error.message}" for error in refusals[:3])


def requeue_refusals(run: Run, choice: Choice, entries: Sequence[SavedEntry]) -> list[FieldError]:
    """Why the chosen code could not go on with the run; empty where it could."""
    found = [*choice.refusals, *resume_refusals(choice, entries)]
    if not choice.is_other and choice.original is not None:
        return found
    try:
        payload = load_stored(RunValue.objects.only("payload").get(run_id=run.id).payload)
        validate_payload(payload, json.dumps(choice.version.payload_schema))
    except PayloadInvalid as refusal:
        found += refusal.errors
    return found


def _refuse_other_states(run: Run) -> None:
    if run.state != RunState.DEAD_LETTER:
        raise IllegalMove(state_refusal(run.state, "requeued"), run.state)
