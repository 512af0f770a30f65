"""HTTP API of triggers: one run, or a batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Router

from apps.access import audit
from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http import converters as converters  # for {text:…}
from apps.http.answers import json_response
from apps.http.errors import FieldError, RequestInvalid
from apps.http.openapi import body_of
from apps.http.requests import BATCH_BODY_MAX_BYTES, read_object, refuse_other_fields
from apps.runs.api.schemas import BatchIn, BatchOut, KeyResetOut, TriggeredOut, TriggerIn
from apps.runs.shown.run import run_detail, run_row
from apps.runs.trigger.create import read_items, trigger_items
from apps.runs.trigger.idempotency import reset_key
from apps.runs.trigger.options import HTTP, traceparent_of
from apps.runs.trigger.orders import Item

router = Router(tags=["runs"])

TRIGGER_ENVELOPE_DEPTH = 2
"""The body and its options, around the metadata."""


BATCH_ENVELOPE_DEPTH = 4
"""The body, its list, the item and its options around the metadata."""


@router.post(
    "/tasks/{task}/runs",
    response={201: TriggeredOut, 200: TriggeredOut},
    openapi_extra=body_of(TriggerIn),
)
def trigger_run(request: HttpRequest, task: str) -> HttpResponse:
    """Trigger a task. The run is committed when the answer comes; 200 if its idempotency key was known."""
    require(actor_of(request), Action.RUNS_TRIGGER)
    body = read_object(request, envelope_depth=TRIGGER_ENVELOPE_DEPTH)
    refuse_other_fields(body, TriggerIn.model_fields)
    options = body.get("options", {})
    if not isinstance(options, dict):
        raise RequestInvalid.at((FieldError("options", "must be an object"),))
    run = trigger_items([Item(task, body.get("payload"), _traced(options, request))], door=HTTP, is_parsed=True)[0]
    shown = {**run_detail(run), "is_duplicate": run.is_duplicate}
    response = json_response(shown, status=200 if run.is_duplicate else 201)
    response["Location"] = f"/api/v1/runs/{run.public_id}"
    return response


@router.post(
    "/batches",
    response={201: BatchOut, 200: BatchOut},
    openapi_extra=body_of(BatchIn),
)
def trigger_batch(request: HttpRequest) -> HttpResponse:
    """Trigger up to 1,000 runs, all or none; 200 if all of them were known by their idempotency keys."""
    require(actor_of(request), Action.RUNS_TRIGGER)
    body = read_object(request, envelope_depth=BATCH_ENVELOPE_DEPTH, max_bytes=BATCH_BODY_MAX_BYTES)
    refuse_other_fields(body, BatchIn.model_fields)
    items = [replace(item, options=_traced(item.options, request)) for item in read_items(body.get("items"))]
    runs = trigger_items(items, door=HTTP, is_parsed=True)
    shown = [{**run_row(run), "is_duplicate": run.is_duplicate} for run in runs]
    return json_response({"items": shown}, status=200 if all(run.is_duplicate for run in runs) else 201)


@router.delete("/tasks/{task}/idempotency-keys/{text:key}", response=KeyResetOut)
def reset_idempotency_key(request: HttpRequest, task: str, key: str) -> HttpResponse:
    """Free an idempotency key: the next trigger with it makes a new run. The run that it stood for goes on as it is."""
    actor = actor_of(request)
    require(actor, Action.IDEMPOTENCY_KEYS_RESET)
    with transaction.atomic():
        run = reset_key(task_id=task, key=key)
        audit.record(actor, Action.IDEMPOTENCY_KEYS_RESET, run.public_id, task=task, key=key)
    return json_response({"task": task, "key": key, "run": run.public_id, "state": run.state})


def _traced(options: Mapping[str, Any], request: HttpRequest) -> Mapping[str, Any]:
    """The options, with the request's trace if they name none."""
    traceparent = traceparent_of(request.headers.get("traceparent"))
    return options if traceparent is None else {"traceparent": traceparent, **options}
