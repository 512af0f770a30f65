"""HTTP API of queues, of what is set by hand, and of single dead letters. Many at once are in `bulk_api.py`."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.permissions import Action, require
from apps.checkpoints.replay.rows import deployment_row
from apps.http import converters as converters  # for {text:…}
from apps.http.answers import json_response
from apps.http.openapi import body_of
from apps.http.requests import actor_of, read_fields, read_object, refuse_unknown_parameters
from apps.http.schemas import Strict
from apps.queues import schemas
from apps.queues.bump import bump
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.queues.dead_letters.api import router as bulk_router
from apps.queues.dead_letters.one import discard, requeue, requeue_preview
from apps.queues.depths import queue_line, queue_page
from apps.runs.api.handlers import router as runs_router
from apps.runs.api.handlers import task_detail
from apps.runs.api.reads import find_run, run_id_of
from apps.runs.api.rows import run_detail
from apps.runs.api.schemas import RunOut, TaskDetailOut

router = Router()
router.add_router("", bulk_router)


@router.get("/queues", response=schemas.QueuePage, tags=["queues"])
def list_queues(request: HttpRequest, query: Query[schemas.QueueQuery]) -> HttpResponse:
    """Every queue that has a setting, live runs or a task, by name."""
    require(actor_of(request), Action.QUEUES_READ)
    refuse_unknown_parameters(request, schemas.QueueQuery)
    items, next_cursor = queue_page(cursor=query.cursor, limit=query.limit)
    return json_response({"items": items, "next_cursor": next_cursor})


@router.get("/queues/{text:name}", response=schemas.QueueOut, tags=["queues"])
def get_queue(request: HttpRequest, name: str) -> HttpResponse:
    """One queue; a slash in its name may stand as it is."""
    require(actor_of(request), Action.QUEUES_READ)
    return json_response(queue_line(name))


@router.patch(
    "/queues/{text:name}", response=schemas.QueueOut, openapi_extra=body_of(schemas.QueuePatch), tags=["queues"]
)
def change_queue(request: HttpRequest, name: str) -> HttpResponse:
    """Pause or resume a queue, change its limits. The queue need not have been used yet."""
    actor = actor_of(request)
    require(actor, Action.QUEUES_CHANGE)
    changes = _changes(request, schemas.QueuePatch)
    with transaction.atomic():
        set_queue(name, **changes)
        audit.record(actor, Action.QUEUES_CHANGE, name, **changes)
    return json_response(queue_line(name))


# An address belongs to one router: this one has its GET there.
@runs_router.patch("/tasks/{task}", response=TaskDetailOut, openapi_extra=body_of(schemas.TaskPatch), tags=["tasks"])
def change_task(request: HttpRequest, task: str) -> HttpResponse:
    """Pause or resume a task, override its limits; null goes back to what its newest deployment declares."""
    actor = actor_of(request)
    require(actor, Action.TASKS_CHANGE)
    changes = _changes(request, schemas.TaskPatch)
    with transaction.atomic():
        set_task(task, **changes)
        audit.record(actor, Action.TASKS_CHANGE, task, **changes)
    return json_response(task_detail(task))


@router.delete("/tasks/{task}/cool-down", response=TaskDetailOut, tags=["tasks"])
def lift_task_cooldown(request: HttpRequest, task: str) -> HttpResponse:
    """End the task's cool-down and forget its failures; where there are none, nothing changes."""
    actor = actor_of(request)
    require(actor, Action.TASKS_LIFT_COOLDOWN)
    with transaction.atomic():
        if lift_cooldown(task):
            audit.record(actor, Action.TASKS_LIFT_COOLDOWN, task)
    return json_response(task_detail(task))


def _changes(request: HttpRequest, shape: type[Strict]) -> Any:
    """What was sent, and nothing for what was left out."""
    return read_fields(shape, read_object(request)).model_dump(exclude_unset=True)


@router.post("/runs/{run_id}/bump", response=RunOut, tags=["runs"])
def bump_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Put a pending run before all others of its queue."""
    actor = actor_of(request)
    require(actor, Action.RUNS_BUMP)
    read_fields(Strict, read_object(request, is_optional=True))
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = bump(run_id=identifier)
        audit.record(actor, Action.RUNS_BUMP, run.public_id)
    return json_response(run_detail(find_run(identifier)))


@router.post("/runs/{run_id}/requeue", response=RunOut, openapi_extra=body_of(schemas.RequeueIn), tags=["dead letters"])
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
    "/runs/{run_id}/requeue/preview",
    response=schemas.RequeuePreviewOut,
    openapi_extra=body_of(schemas.RequeueIn),
    tags=["dead letters"],
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


@router.post("/runs/{run_id}/discard", response=RunOut, openapi_extra=body_of(schemas.DiscardIn), tags=["dead letters"])
def discard_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Close a dead letter with a note."""
    actor = actor_of(request)
    require(actor, Action.RUNS_DISCARD)
    note = read_fields(schemas.DiscardIn, read_object(request)).note
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = discard(run_id=identifier, note=note)
        audit.record(actor, Action.RUNS_DISCARD, run.public_id, note=note)
    return json_response(run_detail(find_run(identifier)))
