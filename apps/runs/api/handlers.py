"""HTTP API of runs and tasks: permission, read, verb, answer. Statuses of errors are in `apps/http/problems.py`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.errors import FieldError, RequestInvalid
from apps.http.openapi import body_of
from apps.http.requests import (
    BATCH_BODY_MAX_BYTES,
    actor_of,
    read_fields,
    read_object,
    refuse_other_fields,
    refuse_unknown_parameters,
)
from apps.http.schemas import Strict
from apps.runs.api import reads, rows, schemas
from apps.runs.api.long_polls import release_thread, wait_until_final
from apps.runs.fleet import fleet_reader
from apps.runs.lifecycle import cancel
from apps.runs.models import Attempt, TaskControl
from apps.runs.tasks.limits import limits_row, task_limits
from apps.runs.trigger.options import HTTP, traceparent_of
from apps.runs.trigger.orders import Item
from apps.runs.trigger.verbs import read_items, trigger_items
from apps.runs.waiting import reason_row, waiting_reason

router = Router()

TRIGGER_ENVELOPE_DEPTH = 2
"""Metadata stands below the body and its options."""

BATCH_ENVELOPE_DEPTH = 4
"""The body, its list, the item and its options around the metadata."""


@router.post(
    "/tasks/{task}/runs",
    response={201: schemas.TriggeredOut, 200: schemas.TriggeredOut},
    tags=["runs"],
    openapi_extra=body_of(schemas.TriggerIn),
)
def trigger_run(request: HttpRequest, task: str) -> HttpResponse:
    """Trigger a task. The run is committed when the answer comes; 200 where its idempotency key was known."""
    require(actor_of(request), Action.RUNS_TRIGGER)
    body = read_object(request, envelope_depth=TRIGGER_ENVELOPE_DEPTH)
    refuse_other_fields(body, schemas.TriggerIn.model_fields)
    options = body.get("options", {})
    if not isinstance(options, dict):
        raise RequestInvalid.at((FieldError("options", "must be an object"),))
    run = trigger_items([Item(task, body.get("payload"), _traced(options, request))], door=HTTP, is_parsed=True)[0]
    shown = {**rows.run_detail(run), "is_duplicate": run.is_duplicate}
    response = json_response(shown, status=200 if run.is_duplicate else 201)
    response["Location"] = f"/api/v1/runs/{run.public_id}"
    return response


@router.post(
    "/batches",
    response={201: schemas.BatchOut, 200: schemas.BatchOut},
    tags=["runs"],
    openapi_extra=body_of(schemas.BatchIn),
)
def trigger_batch(request: HttpRequest) -> HttpResponse:
    """Trigger up to 1,000 runs, all or none; 200 where all of them were known by their idempotency keys."""
    require(actor_of(request), Action.RUNS_TRIGGER)
    body = read_object(request, envelope_depth=BATCH_ENVELOPE_DEPTH, max_bytes=BATCH_BODY_MAX_BYTES)
    refuse_other_fields(body, schemas.BatchIn.model_fields)
    items = [replace(item, options=_traced(item.options, request)) for item in read_items(body.get("items"))]
    runs = trigger_items(items, door=HTTP, is_parsed=True)
    shown = [{**rows.run_summary(run), "is_duplicate": run.is_duplicate} for run in runs]
    return json_response({"items": shown}, status=200 if all(run.is_duplicate for run in runs) else 201)


def _traced(options: Mapping[str, Any], request: HttpRequest) -> Mapping[str, Any]:
    """With the trace of the request where the options name none."""
    traceparent = traceparent_of(request.headers.get("traceparent"))
    return options if traceparent is None else {"traceparent": traceparent, **options}


@router.get("/runs", response=schemas.RunPage, tags=["runs"])
def list_runs(request: HttpRequest, filters: Query[schemas.RunFilters]) -> HttpResponse:
    """Runs without their values, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.RunFilters)
    runs, next_cursor = reads.run_page(filters)
    return json_response({"items": [rows.run_summary(run) for run in runs], "next_cursor": next_cursor})


@router.get("/runs/{run_id}", response=schemas.RunOut, tags=["runs"])
async def get_run(request: HttpRequest, run_id: str, query: Query[schemas.WaitQuery]) -> HttpResponse:
    """One run; with wait_seconds the answer comes when the run is final or that time is over."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.WaitQuery)
    identifier = reads.run_id_of(run_id)
    if query.wait_seconds:
        await release_thread()
        await wait_until_final(identifier, seconds=query.wait_seconds)
    return json_response(await sync_to_async(_run_as_it_stands)(identifier))


def _run_as_it_stands(identifier: UUID) -> dict[str, Any]:
    run = reads.find_run(identifier)
    return rows.run_detail(run, waiting_reason=reason_row(waiting_reason(run.id, run.state)))


@router.get("/runs/{run_id}/attempts", response=schemas.AttemptList, tags=["runs"])
def list_attempts(request: HttpRequest, run_id: str) -> HttpResponse:
    """The run's attempts in order."""
    require(actor_of(request), Action.RUNS_READ)
    identifier = reads.run_id_of(run_id)
    attempts = list(Attempt.objects.filter(run_id=identifier).defer("answer").order_by("number"))
    if not attempts:
        reads.require_run(identifier)
    names = fleet_reader().names({attempt.worker_id for attempt in attempts})
    return json_response({"items": [rows.attempt_row(attempt, names) for attempt in attempts]})


@router.get("/runs/{run_id}/logs", response=schemas.LogPage, tags=["runs"])
def list_logs(request: HttpRequest, run_id: str, filters: Query[schemas.LogFilters]) -> HttpResponse:
    """The run's log lines in order, from the start or after a cursor."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.LogFilters)
    identifier = reads.run_id_of(run_id)
    lines, next_cursor = reads.log_page(identifier, filters)
    if not lines:
        reads.require_run(identifier)
    return json_response({"items": [rows.log_row(line) for line in lines], "next_cursor": next_cursor})


@router.post("/runs/{run_id}/cancellation", response=schemas.RunOut, tags=["runs"])
def cancel_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Cancel a run: at once while it waits; a running one is asked to stop and ends within seconds."""
    actor = actor_of(request)
    require(actor, Action.RUNS_CANCEL)
    read_fields(Strict, read_object(request, is_optional=True))
    identifier = reads.run_id_of(run_id)
    with transaction.atomic():
        run = cancel(identifier)
        audit.record(actor, Action.RUNS_CANCEL, run.public_id)
    return json_response(rows.run_detail(reads.find_run(identifier)))


@router.get("/tasks", response=schemas.TaskList, tags=["tasks"])
def list_tasks(request: HttpRequest) -> HttpResponse:
    """Every task as its newest deployment declares it."""
    require(actor_of(request), Action.TASKS_READ)
    return json_response({"items": [rows.task_row(*pair) for pair in reads.current_versions()]})


@router.get("/tasks/{task}", response=schemas.TaskDetailOut, tags=["tasks"])
def get_task(request: HttpRequest, task: str) -> HttpResponse:
    """One task with its options, payload schema, resume points and versions, its limits and how it fails."""
    require(actor_of(request), Action.TASKS_READ)
    return json_response(task_detail(task))


def task_detail(task_id: str) -> dict[str, Any]:
    found, versions = reads.find_task(task_id)
    current = next(version for version in versions if version.deployment_id == found.deployment_id)
    limits = task_limits(current.options, TaskControl.objects.filter(task_id=found.id).first())
    return {**rows.task_row(found, current), **limits_row(limits), "versions": rows.version_rows(versions)}
