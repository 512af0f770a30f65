"""HTTP API of dead letters: permission, read, verb, answer."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Router

from apps.access import audit
from apps.access.permissions import Action, require
from apps.checkpoints.rendering import deployment_row
from apps.queues import schemas
from apps.queues.dead_letters import requeue, requeue_preview
from apps.runs.api import body_of
from apps.runs.listing import find_run, run_id_of
from apps.runs.rendering import json_response, run_detail
from apps.runs.requests import actor_of, read_fields, read_object
from apps.runs.schemas import RunOut

router = Router(tags=["dead letters"])


@router.post("/runs/{run_id}/requeue", response=RunOut, openapi_extra=body_of(schemas.RequeueIn))
def requeue_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Make a dead letter pending again: the same run goes on from its last checkpoint, with a fresh budget."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REQUEUE)
    wanted = read_fields(schemas.RequeueIn, read_object(request, is_optional=True)).deployment
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = requeue(run_id=identifier, deployment=wanted)
        audit.record(actor, Action.RUNS_REQUEUE, run.public_id, deployment=wanted)
    return json_response(run_detail(find_run(identifier)))


@router.post(
    "/runs/{run_id}/requeue/preview", response=schemas.RequeuePreviewOut, openapi_extra=body_of(schemas.RequeueIn)
)
def preview_requeue(request: HttpRequest, run_id: str) -> HttpResponse:
    """Where that run would continue, and why it would be refused. Nothing is written."""
    require(actor_of(request), Action.RUNS_REQUEUE)
    wanted = read_fields(schemas.RequeueIn, read_object(request, is_optional=True)).deployment
    shown = requeue_preview(run_id=run_id_of(run_id), deployment=wanted)
    return json_response(
        {
            "resumes_after": shown.resumes_after,
            "deployment": deployment_row(shown.deployment),
            "is_code_changed": shown.is_code_changed,
            "refusals": shown.refusals,
            "warnings": shown.warnings,
        }
    )
