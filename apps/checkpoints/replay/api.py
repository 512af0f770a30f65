"""HTTP API of replays: making one, its preview, and the list of those of a run."""

import json
import re

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.lineage import replay_page
from apps.checkpoints.replay.plan import UNCHANGED, ReplayRequest
from apps.checkpoints.replay.preview import preview
from apps.checkpoints.replay.schemas import ReplayFilters, ReplayIn, ReplayPreviewOut
from apps.checkpoints.replay.shown import audit_details, preview_row
from apps.http.answers import json_response
from apps.http.errors import FieldError, PayloadInvalid
from apps.http.openapi import body_of
from apps.http.requests import read_fields, read_object, refuse_unknown_parameters
from apps.runs.reads import find_run, require_run, run_id_of
from apps.runs.shown.run import RunOut, RunPage, run_detail, run_row

router = Router(tags=["checkpoints"])

DATA_ENVELOPE_DEPTH = 2
"""A checkpoint's data stands below `checkpoint_data` and its key."""

_QUOTED_KEY = re.compile(r'\Acheckpoint_data\[("(?:[^"\\]|\\.)*")\]')


@router.post("/runs/{run_id}/replays", response={201: RunOut}, openapi_extra=body_of(ReplayIn))
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


@router.post("/runs/{run_id}/replays/preview", response=ReplayPreviewOut, openapi_extra=body_of(ReplayIn))
def preview_replay(request: HttpRequest, run_id: str) -> HttpResponse:
    """What that replay would reuse and run again, and why it would be refused. Nothing is written."""
    require(actor_of(request), Action.RUNS_REPLAY)
    return json_response(preview_row(preview(_read_replay(request, run_id))))


@router.get("/runs/{run_id}/replays", response=RunPage)
def list_replays(request: HttpRequest, run_id: str, filters: Query[ReplayFilters]) -> HttpResponse:
    """The replays of a run without their values, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, ReplayFilters)
    identifier = run_id_of(run_id)
    runs, next_cursor = replay_page(identifier, cursor=filters.cursor, limit=filters.limit)
    if not runs:
        require_run(identifier)
    return json_response({"items": [run_row(run) for run in runs], "next_cursor": next_cursor})


def _read_replay(request: HttpRequest, run_id: str) -> ReplayRequest:
    try:
        body = read_object(request, is_optional=True, envelope_depth=DATA_ENVELOPE_DEPTH)
    except PayloadInvalid as refusal:
        raise _with_plain_keys(refusal) from refusal
    fields = read_fields(ReplayIn, body)
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
