"""HTTP API of many dead letters: their list, their groups, and moving them all."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.cursors import read_run_cursor
from apps.http.errors import FieldError, RequestInvalid
from apps.http.openapi import body_of
from apps.http.requests import actor_of, read_fields, read_object, refuse_unknown_parameters
from apps.queues import schemas
from apps.queues.dead_letters.many import Outcome, Refused, Selection, discard_many, requeue_many
from apps.queues.dead_letters.selection import DeadLetterFilter, dead_letter_groups, dead_letter_page
from apps.storage.ids import parse_public_id, public_id

REFUSED_SHOWN = 1000

router = Router(tags=["dead letters"])


@router.get("/dead-letters", response=schemas.DeadLetterPage)
def list_dead_letters(request: HttpRequest, filters: Query[schemas.DeadLetterQuery]) -> HttpResponse:
    """Dead letters with what they died of, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.DeadLetterQuery)
    before = None if filters.cursor is None else read_run_cursor("dead-letters", filters.cursor)
    items, next_cursor = dead_letter_page(_filter_of(filters), before=before, limit=filters.limit)
    return json_response({"items": items, "next_cursor": next_cursor})


@router.get("/dead-letters/groups", response=schemas.DeadLetterGroupsOut)
def group_dead_letters(request: HttpRequest, filters: Query[schemas.DeadLetterFilterIn]) -> HttpResponse:
    """How many there are by task and type of error."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, schemas.DeadLetterFilterIn)
    groups = dead_letter_groups(_filter_of(filters))
    return json_response({"items": groups.items, "is_complete": groups.is_complete})


@router.post("/dead-letters/requeue", response=schemas.ManyOut, openapi_extra=body_of(schemas.RequeueManyIn))
def requeue_dead_letters(request: HttpRequest) -> HttpResponse:
    """Requeue up to 10,000, all at once or at a rate; each that cannot go on is named and stays."""
    actor = actor_of(request)
    require(actor, Action.RUNS_REQUEUE)
    asked = read_fields(schemas.RequeueManyIn, read_object(request))
    found = requeue_many(_selection_of(asked), deployment=asked.deployment, rate=asked.rate, actor=actor)
    return _answer(found)


@router.post("/dead-letters/discard", response=schemas.ManyOut, openapi_extra=body_of(schemas.DiscardManyIn))
def discard_dead_letters(request: HttpRequest) -> HttpResponse:
    """Discard up to 10,000 with one note."""
    actor = actor_of(request)
    require(actor, Action.RUNS_DISCARD)
    asked = read_fields(schemas.DiscardManyIn, read_object(request))
    return _answer(discard_many(_selection_of(asked), note=asked.note, actor=actor))


def _filter_of(given: schemas.DeadLetterFilterIn) -> DeadLetterFilter:
    return DeadLetterFilter(**given.model_dump(include=set(schemas.DeadLetterFilterIn.model_fields)))


def _selection_of(asked: schemas.ManyIn) -> Selection:
    """Raises RequestInvalid for texts among the ids that are no run's."""
    chosen = None if asked.filter is None else _filter_of(asked.filter)
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


def _answer(outcome: Outcome) -> HttpResponse:
    return json_response(
        {
            "count": outcome.moved_count,
            "refused_count": len(outcome.refused),
            "refused": [_refused_row(each) for each in outcome.refused[:REFUSED_SHOWN]],
            "next": outcome.next,
        }
    )


def _refused_row(refused: Refused) -> dict[str, Any]:
    return {"id": public_id("run", refused.run_id), "reason": refused.reason}
