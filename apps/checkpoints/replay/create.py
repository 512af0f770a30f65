"""The verb of replay: a new run from any checkpoint of another, whose original stays as it is."""

from __future__ import annotations

import json

from django.db import transaction
from trigger_sdk.values import codec

from apps.checkpoints.errors import ReplayRefused
from apps.checkpoints.replay.plan import ReplayPlan, ReplayRequest, payload_errors, plan_replay
from apps.live.notify import announce_runs
from apps.runs.models import PRIORITY_RANGE, Run, RunValue
from apps.storage.statements import statement

COPIED_OPTIONS = ("task_id", "queue", "max_attempts", "tags")


COPY_CHECKPOINTS = statement(__file__, "copy_checkpoints")


COPY_PAYLOAD = statement(__file__, "copy_payload")


def replay(request: ReplayRequest) -> Run:
    """A new pending run, committed before this returns.

    Raises RunNotFound, CheckpointNotFound naming the keys that there are, DeploymentNotFound, ReplayRefused with every
    reason, and PayloadInvalid or PayloadTooLarge where the payload alone is wrong.
    """
    with transaction.atomic():
        plan = plan_replay(request)
        _refuse(plan)
        original, last = plan.original, plan.reused[-1] if plan.reused else None
        copy = Run(
            replay_of_id=original.id,
            replay_from="" if last is None else last.key,
            deployment=plan.choice.deployment,
            idempotency_scope=(original.idempotency_scope or original.id) if plan.uses_original_keys else None,
            concurrency_key=plan.concurrency_key,
            priority=min(original.priority, PRIORITY_RANGE[1]),  # a bump is the original's own
            **{name: getattr(original, name) for name in COPIED_OPTIONS},
        )
        copy.save(force_insert=True)
        if plan.payload_json is None:
            COPY_PAYLOAD.run(original_id=original.id, replay_id=copy.id)
        else:
            metadata = RunValue.objects.values_list("metadata", flat=True).get(run_id=original.id)
            RunValue.objects.create(run=copy, payload=plan.payload_json, metadata=metadata)
        if last is not None:
            _copy(plan, copy, last.index)
        announce_runs([copy.id], is_pending=True)
    return copy


def _refuse(plan: ReplayPlan) -> None:
    errors = plan.refusals
    if errors:
        errors = (*errors, *payload_errors(plan))
        raise ReplayRefused("; ".join(f"{error.path}: {error.message}" for error in errors[:3]), errors)
    if plan.payload_refusal is not None:
        raise plan.payload_refusal


def _copy(plan: ReplayPlan, copy: Run, last_index: int) -> None:
    edits = plan.edits.edits
    COPY_CHECKPOINTS.run(
        original_id=plan.original.id,
        replay_id=copy.id,
        last_index=last_index,
        keys=[edit.entry.key for edit in edits],
        datas=[edit.data for edit in edits],
        carrieds=[edit.carried for edit in edits],
        binds=[json.dumps(list(edit.entry.binds)) for edit in edits],
        hashes=[edit.content_hash for edit in edits],
        sizes=[edit.entry.size_bytes for edit in edits],
        codec=codec.VERSION,
    )
