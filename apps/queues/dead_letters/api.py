"""HTTP API of dead letters: their list, their groups, and moving one or many."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.errors import FieldError, RequestInvalid
from apps.http.openapi import body_of
from apps.http.requests import read_fields, read_object, refuse_unknown_parameters
from apps.queues.dead_letters.filters import DEAD_LETTER_FILTERS
from apps.queues.dead_letters.many import Moved, Refused, Selection, discard_many, requeue_many
from apps.queues.dead_letters.one import discard, requeue, requeue_preview
from apps.queues.dead_letters.schemas import (
    DeadLetterFilterIn,
    DeadLetterGroupsOut,
    DeadLetterPage,
    DeadLetterQuery,
    DiscardIn,
    DiscardManyIn,
    ManyIn,
    ManyOut,
    RequeueIn,
    RequeueManyIn,
    RequeuePreviewOut,
)
from apps.queues.dead_letters.selection import dead_letter_groups, dead_letter_page
from apps.runs.reads import find_run, run_id_of
from apps.runs.shown.deployment import deployment_row
from apps.runs.shown.run import RunOut, run_detail
from apps.storage.ids import parse_public_id, public_id

REFUSED_SHOWN = 1000

router = Router(tags=["dead letters"])


@router.get("/dead-letters", response=DeadLetterPage)
def list_dead_letters(request: HttpRequest, filters: Query[DeadLetterQuery]) -> HttpResponse:
    """Dead letters with what they died of, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, DeadLetterQuery)
    items, next_cursor = dead_letter_page(
        DEAD_LETTER_FILTERS.of_model(filters), cursor=filters.cursor, limit=filters.limit
    )
    return json_response({"items": items, "next_cursor": next_cursor})


@router.get("/dead-letters/groups", response=DeadLetterGroupsOut)
def group_dead_letters(request: HttpRequest, filters: Query[DeadLetterFilterIn]) -> HttpResponse:
    """How many there are by task and type of error."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, DeadLetterFilterIn)
    groups = dead_letter_groups(DEAD_LETTER_FILTERS.of_model(filters))
    return json_response({"items": groups.items, "is_complete": groups.is_complete})


@router.post("/dead-letters/requeue", response=ManyOut, openapi_extra=body_of(RequeueManyIn))
def requeue_dead_letters(request: HttpRequest) -> HttpResponse:
    """Requeue up to 10,000, all at once or at a rate; each that cannot go on is named and stays."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REQUEUE)
    asked = read_fields(RequeueManyIn, read_object(request))
    found = requeue_many(_selection_of(asked), deployment=asked.deployment, rate=asked.rate, actor=actor)
    return _answer(found)


@router.post("/dead-letters/discard", response=ManyOut, openapi_extra=body_of(DiscardManyIn))
def discard_dead_letters(request: HttpRequest) -> HttpResponse:
    """Discard up to 10,000 with one note."""
    actor = actor_of(request)
    require(actor, Action.RUNS_DISCARD)
    asked = read_fields(DiscardManyIn, read_object(request))
    return _answer(discard_many(_selection_of(asked), note=asked.note, actor=actor))


@router.post("/runs/{run_id}/requeue", response=RunOut, openapi_extra=body_of(RequeueIn))
def requeue_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Make a dead letter pending again: the same run goes on from its last checkpoint, with a fresh budget."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REQUEUE)
    wanted = read_fields(RequeueIn, read_object(request, is_optional=True)).deployment
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = requeue(run_id=identifier, deployment=wanted)
        audit.record(actor, Action.RUNS_REQUEUE, run.public_id, deployment=wanted)
    return json_response(run_detail(find_run(identifier)))


@router.post(
    "/runs/{run_id}/requeue/preview",
    response=RequeuePreviewOut,
    openapi_extra=body_of(RequeueIn),
)
def preview_requeue(request: HttpRequest, run_id: str) -> HttpResponse:
    """Where that run would continue, and why it would be refused. Nothing is written."""
    require(actor_of(request), Action.RUNS_REQUEUE)
    wanted = read_fields(RequeueIn, read_object(request, is_optional=True)).deployment
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


@router.post("/runs/{run_id}/discard", response=RunOut, openapi_extra=body_of(DiscardIn))
def discard_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Close a dead letter with a note."""
    actor = actor_of(request)
    require(actor, Action.RUNS_DISCARD)
    note = read_fields(DiscardIn, read_object(request)).note
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = discard(run_id=identifier, note=note)
        audit.record(actor, Action.RUNS_DISCARD, run.public_id, note=note)
    return json_response(run_detail(find_run(identifier)))


def _selection_of(asked: ManyIn) -> Selection:
    """Raises RequestInvalid for texts among the ids that are no run's."""
    chosen = None if asked.filter is None else DEAD_LETTER_FILTERS.of_model(asked.filter)
    if asked.ids is None:
        return Selection(chosen=chosen, cursor=asked.cursor)
    parsed = {text: parse_public_id("run", text) for text in asked.ids}
    wrong = tuple(
        FieldError(f"ids[{place}]", "is not the id of a run")
        for place, text in enumerate(asked.ids)
        if parsed[text] is None
    )
    if wrong:
        raise RequestInvalid.at(wrong)
    return Selection(ids=[found for found in parsed.values() if found], chosen=chosen, cursor=asked.cursor)


def _answer(result: Moved) -> HttpResponse:
    return json_response(
        {
            "count": result.moved_count,
            "refused_count": len(result.refused),
            "refused": [_refused_row(each) for each in result.refused[:REFUSED_SHOWN]],
            "next": result.next,
        }
    )


def _refused_row(refused: Refused) -> dict[str, Any]:
    return {"id": public_id("run", refused.run_id), "reason": refused.reason}
