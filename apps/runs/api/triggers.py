"""HTTP API of triggers: one run, or a batch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Router

from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.errors import FieldError, RequestInvalid
from apps.http.openapi import body_of
from apps.http.requests import BATCH_BODY_MAX_BYTES, read_object, refuse_other_fields
from apps.runs.api.schemas import BatchIn, BatchOut, TriggeredOut, TriggerIn
from apps.runs.shown.run import run_detail, run_row
from apps.runs.trigger.create import read_items, trigger_items
from apps.runs.trigger.options import HTTP, traceparent_of
from apps.runs.trigger.orders import Item

router = Router(tags=["runs"])

TRIGGER_ENVELOPE_DEPTH = 2
"""Metadata stands below the body and its options."""


BATCH_ENVELOPE_DEPTH = 4
"""The body, its list, the item and its options around the metadata."""


@router.post(
    "/tasks/{task}/runs",
    response={201: TriggeredOut, 200: TriggeredOut},
    openapi_extra=body_of(TriggerIn),
)
def trigger_run(request: HttpRequest, task: str) -> HttpResponse:
    """Trigger a task. The run is committed when the answer comes; 200 where its idempotency key was known."""
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
    """Trigger up to 1,000 runs, all or none; 200 where all of them were known by their idempotency keys."""
    require(actor_of(request), Action.RUNS_TRIGGER)
    body = read_object(request, envelope_depth=BATCH_ENVELOPE_DEPTH, max_bytes=BATCH_BODY_MAX_BYTES)
    refuse_other_fields(body, BatchIn.model_fields)
    items = [replace(item, options=_traced(item.options, request)) for item in read_items(body.get("items"))]
    runs = trigger_items(items, door=HTTP, is_parsed=True)
    shown = [{**run_row(run), "is_duplicate": run.is_duplicate} for run in runs]
    return json_response({"items": shown}, status=200 if all(run.is_duplicate for run in runs) else 201)


def _traced(options: Mapping[str, Any], request: HttpRequest) -> Mapping[str, Any]:
    """With the trace of the request where the options name none."""
    traceparent = traceparent_of(request.headers.get("traceparent"))
    return options if traceparent is None else {"traceparent": traceparent, **options}
