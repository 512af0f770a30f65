"""HTTP API of checkpoints and replays: permission, read, verb, answer."""

from typing import Any

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponse
from ninja import Router

from apps.access import audit
from apps.access.permissions import Action, require
from apps.checkpoints import schemas
from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay import replay
from apps.runs.api import body_of
from apps.runs.listing import find_run, require_run, run_id_of
from apps.runs.rendering import json_response, raw_value, run_detail, timestamp
from apps.runs.requests import actor_of, read_fields, read_object
from apps.runs.schemas import RunOut

router = Router(tags=["checkpoints"])


@router.get("/runs/{run_id}/checkpoints", response=schemas.CheckpointList)
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


@router.get("/runs/{run_id}/checkpoints/{path:key}", response=schemas.CheckpointOut)
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


@router.post("/runs/{run_id}/replays", response={201: RunOut}, openapi_extra=body_of(schemas.ReplayIn))
def replay_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Make a new run with the same payload, from the start or after a checkpoint. The original does not change."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REPLAY)
    fields = read_fields(schemas.ReplayIn, read_object(request, is_optional=True))
    with transaction.atomic():
        copy = replay(run_id=run_id_of(run_id), from_checkpoint=fields.from_checkpoint)
        details = {"from_checkpoint": fields.from_checkpoint, "new_run": copy.public_id}
        audit.record(actor, Action.RUNS_REPLAY, run_id, **details)
    response = json_response(run_detail(find_run(copy.id)), status=201)
    response["Location"] = f"/api/v1/runs/{copy.public_id}"
    return response


def _summary(row: Checkpoint, *, has_carried: bool) -> dict[str, Any]:
    return {
        "key": row.key,
        "index": row.index,
        "size_bytes": row.size_bytes,
        "binds": row.binds,
        "has_carried": has_carried,
        "attempt": row.attempt,
        "created_at": timestamp(row.created_at),
    }
