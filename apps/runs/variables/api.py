"""HTTP API of variables: they are set, unset and listed; values are written and never read."""

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.openapi import body_of
from apps.http.requests import read_fields, read_object, refuse_unknown_parameters
from apps.runs.variables.schemas import (
    VariableIn,
    VariableList,
    VariableOut,
    VariableQuery,
    VariableSetOut,
    variable_row,
)
from apps.runs.variables.store import ALL_SETS, is_deployed, list_variables, set_variable, unset_variable

router = Router(tags=["variables"])


@router.get("/variables", response=VariableList)
def list_all_variables(request: HttpRequest, query: Query[VariableQuery]) -> HttpResponse:
    """Names and versions; with `task_set` those that its tasks get. Values are never shown."""
    require(actor_of(request), Action.VARIABLES_READ)
    refuse_unknown_parameters(request, VariableQuery)
    rows = list_variables(query.task_set or None)
    return json_response({"items": [variable_row(row) for row in rows]})


@router.put("/variables/{name}", response=VariableSetOut, openapi_extra=body_of(VariableIn))
def put_variable(request: HttpRequest, name: str) -> HttpResponse:
    """Set a variable, whatever it was before; attempts that start afterwards get it."""
    actor = actor_of(request)
    require(actor, Action.VARIABLES_CHANGE)
    given = read_fields(VariableIn, read_object(request))
    task_set = given.task_set or ALL_SETS
    row = set_variable(name, given.value, task_set=task_set, actor=actor)
    return json_response({**variable_row(row), "is_deployed": is_deployed(task_set)})


@router.delete("/variables/{name}", response=VariableOut)
def delete_variable(request: HttpRequest, name: str, query: Query[VariableQuery]) -> HttpResponse:
    """Unset a variable; attempts that start afterwards no longer get it."""
    actor = actor_of(request)
    require(actor, Action.VARIABLES_CHANGE)
    refuse_unknown_parameters(request, VariableQuery)
    return json_response(variable_row(unset_variable(name, task_set=query.task_set, actor=actor)))
