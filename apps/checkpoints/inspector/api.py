"""HTTP API of what a run has saved: the list, and one checkpoint with its data."""

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponse
from ninja import Router

from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.inspector.schemas import CheckpointList, CheckpointOut
from apps.checkpoints.models import Checkpoint
from apps.http import converters as converters  # for {text:…}
from apps.http.answers import json_response, raw_value, timestamp
from apps.runs.reads import require_run, run_id_of

router = Router(tags=["checkpoints"])


@router.get("/runs/{run_id}/checkpoints", response=CheckpointList)
def list_checkpoints(request: HttpRequest, run_id: str) -> HttpResponse:
    """The run's checkpoints in commit order, without their data (each may have 3 MB)."""
    require(actor_of(request), Action.RUNS_READ)
    identifier = run_id_of(run_id)
    has_carried = ExpressionWrapper(Q(carried__isnull=False), BooleanField())
    rows = Checkpoint.objects.filter(run_id=identifier).defer("data", "carried").annotate(has_carried=has_carried)
    checkpoints = list(rows.order_by("index"))
    if not checkpoints:
        require_run(identifier)
    return json_response({"items": [_summary(row, has_carried=row.has_carried) for row in checkpoints]})


@router.get("/runs/{run_id}/checkpoints/{text:key}", response=CheckpointOut)
def get_checkpoint(request: HttpRequest, run_id: str, key: str) -> HttpResponse:
    """One checkpoint with its data, exactly as the task saved it."""
    require(actor_of(request), Action.RUNS_READ)
    identifier = run_id_of(run_id)
    row = Checkpoint.objects.filter(run_id=identifier, key=key).first()
    if row is None:
        require_run(identifier)
        raise CheckpointNotFound(f"{run_id} has no checkpoint {key!r}.")
    summary = _summary(row, has_carried=row.carried is not None)
    return json_response({**summary, "data": raw_value(row.data), "carried": raw_value(row.carried)})


def _summary(row: Checkpoint, *, has_carried: bool) -> dict[str, Any]:
    return {
        "key": row.key,
        "kind": row.kind,
        "index": row.index,
        "size_bytes": row.size_bytes,
        "binds": row.binds,
        "has_carried": has_carried,
        "attempt": row.attempt,
        "is_edited": row.is_edited,
        "duration_seconds": row.duration_seconds,
        "created_at": timestamp(row.created_at),
    }
