"""HTTP API of queues and of manual settings for queues and tasks. Dead letters have their own API."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http import converters as converters  # for {text:…}
from apps.http.answers import json_response
from apps.http.openapi import body_of
from apps.http.requests import read_fields, read_object, refuse_unknown_parameters
from apps.http.schemas import Strict
from apps.http.shared_routes import task_routes
from apps.queues.bump import bump
from apps.queues.controls import lift_cooldown, set_queue, set_task
from apps.queues.dead_letters.api import router as bulk_router
from apps.queues.queries import queue_line, queue_page
from apps.queues.schemas import QueueOut, QueuePage, QueuePatch, QueueQuery, TaskPatch
from apps.runs.reads import find_run, run_id_of
from apps.runs.shown.run import RunOut, run_detail
from apps.runs.shown.task import TaskDetailOut, task_detail

router = Router()
router.add_router("", bulk_router)


@router.get("/queues", response=QueuePage, tags=["queues"])
def list_queues(request: HttpRequest, query: Query[QueueQuery]) -> HttpResponse:
    """Every queue that has a setting, live runs or a task, by name."""
    require(actor_of(request), Action.QUEUES_READ)
    refuse_unknown_parameters(request, QueueQuery)
    items, next_cursor = queue_page(cursor=query.cursor, limit=query.limit)
    return json_response({"items": items, "next_cursor": next_cursor})


@router.get("/queues/{text:name}", response=QueueOut, tags=["queues"])
def get_queue(request: HttpRequest, name: str) -> HttpResponse:
    """One queue; a slash in its name need not be escaped."""
    require(actor_of(request), Action.QUEUES_READ)
    return json_response(queue_line(name))


@router.patch("/queues/{text:name}", response=QueueOut, openapi_extra=body_of(QueuePatch), tags=["queues"])
def change_queue(request: HttpRequest, name: str) -> HttpResponse:
    """Pause or resume a queue, or change its limits, which may be set before its first use."""
    actor = actor_of(request)
    require(actor, Action.QUEUES_CHANGE)
    changes = _changes(request, QueuePatch)
    with transaction.atomic():
        set_queue(name, **changes)
        audit.record(actor, Action.QUEUES_CHANGE, name, **changes)
    return json_response(queue_line(name))


# An address belongs to one router: the GET of this one is there.
@task_routes.patch("/tasks/{task}", response=TaskDetailOut, openapi_extra=body_of(TaskPatch))
def change_task(request: HttpRequest, task: str) -> HttpResponse:
    """Pause or resume a task, or override its limits; null reverts to what its newest deployment declares."""
    actor = actor_of(request)
    require(actor, Action.TASKS_CHANGE)
    changes = _changes(request, TaskPatch)
    with transaction.atomic():
        set_task(task, **changes)
        audit.record(actor, Action.TASKS_CHANGE, task, **changes)
    return json_response(task_detail(task))


@router.delete("/tasks/{task}/cool-down", response=TaskDetailOut)
def lift_task_cooldown(request: HttpRequest, task: str) -> HttpResponse:
    """End the task's cool-down and forget its failures; if there are none, nothing changes."""
    actor = actor_of(request)
    require(actor, Action.TASKS_LIFT_COOLDOWN)
    with transaction.atomic():
        if lift_cooldown(task):
            audit.record(actor, Action.TASKS_LIFT_COOLDOWN, task)
    return json_response(task_detail(task))


def _changes(request: HttpRequest, shape: type[Strict]) -> Any:
    """The fields that were sent, without those that were left out."""
    return read_fields(shape, read_object(request)).model_dump(exclude_unset=True)


@router.post("/runs/{run_id}/bump", response=RunOut, tags=["runs"])
def bump_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Put a pending run ahead of all others in its queue."""
    actor = actor_of(request)
    require(actor, Action.RUNS_BUMP)
    read_fields(Strict, read_object(request, is_optional=True))
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = bump(run_id=identifier)
        audit.record(actor, Action.RUNS_BUMP, run.public_id)
    return json_response(run_detail(find_run(identifier)))
