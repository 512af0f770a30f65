"""HTTP API of checkpoints and replays: permission, read, verb, answer."""

import json
import re
from typing import Any

from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, Q
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.permissions import Action, require
from apps.checkpoints import schemas
from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.lineage import replay_page
from apps.checkpoints.replay.preview import preview
from apps.checkpoints.replay.rows import audit_details, preview_row
from apps.checkpoints.replay.verbs import UNCHANGED, ReplayRequest, replay
from apps.http import converters as converters  # for {text:…}
from apps.http.answers import json_response, raw_value, timestamp
from apps.http.errors import FieldError, PayloadInvalid
from apps.http.openapi import body_of
from apps.http.requests import actor_of, read_fields, read_object, refuse_unknown_parameters
from apps.runs.api.reads import find_run, require_run, run_id_of
from apps.runs.api.rows import run_detail, run_summary
from apps.runs.api.schemas import RunOut, RunPage

DATA_ENVELOPE_DEPTH = 2
"""A checkpoint's data stands below `checkpoint_data` and its key."""

_QUOTED_KEY = re.compile(r'\Acheckpoint_data\[("(?:[^"\\]|\\.)*")\]')

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


@router.get("/runs/{run_id}/checkpoints/{text:key}", response=schemas.CheckpointOut)
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
    """Make a new run from the start or after any checkpoint or step, edited or not. The original does not change."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REPLAY)
    wanted = _read_replay(request, run_id)
    with transaction.atomic():
        copy = replay(wanted)
        audit.record(actor, Action.RUNS_REPLAY, run_id, **audit_details(wanted, copy))
    response = json_response(run_detail(find_run(copy.id)), status=201)
    response["Location"] = f"/api/v1/runs/{copy.public_id}"
    return response


@router.post(
    "/runs/{run_id}/replays/preview", response=schemas.ReplayPreviewOut, openapi_extra=body_of(schemas.ReplayIn)
)
def preview_replay(request: HttpRequest, run_id: str) -> HttpResponse:
    """What that replay would reuse and run again, and why it would be refused. Nothing is written."""
    require(actor_of(request), Action.RUNS_REPLAY)
    return json_response(preview_row(preview(_read_replay(request, run_id))))


@router.get("/runs/{run_id}/replays", response=RunPage)
def list_replays(request: HttpRequest, run_id: str, filters: Query[schemas.ReplayFilters]) -> HttpResponse:
    """The replays of a run without their values, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.ReplayFilters)
    identifier = run_id_of(run_id)
    runs, next_cursor = replay_page(identifier, cursor=filters.cursor, limit=filters.limit)
    if not runs:
        require_run(identifier)
    return json_response({"items": [run_summary(run) for run in runs], "next_cursor": next_cursor})


def _read_replay(request: HttpRequest, run_id: str) -> ReplayRequest:
    try:
        body = read_object(request, is_optional=True, envelope_depth=DATA_ENVELOPE_DEPTH)
    except PayloadInvalid as refusal:
        raise _with_plain_keys(refusal) from refusal
    fields = read_fields(schemas.ReplayIn, body)
    return ReplayRequest(
        run_id=run_id_of(run_id),
        from_checkpoint=fields.from_checkpoint,
        payload=fields.payload if "payload" in fields.model_fields_set else UNCHANGED,
        checkpoint_data=fields.checkpoint_data,
        deployment=fields.deployment,
        has_new_keys=fields.new_idempotency_keys,
    )


def _with_plain_keys(refusal: PayloadInvalid) -> PayloadInvalid:
    """Keys of checkpoints stand in paths as they are, `checkpoint_data.order-fetched.total`, whoever refused it."""
    errors = tuple(
        FieldError(_QUOTED_KEY.sub(lambda found: f"checkpoint_data.{json.loads(found[1])}", error.path), error.message)
        for error in refusal.errors
    )
    return PayloadInvalid("; ".join(f"{error.path}: {error.message}" for error in errors) or refusal.detail, errors)


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
