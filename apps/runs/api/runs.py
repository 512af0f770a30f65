"""HTTP API of runs with their attempts and lines: permission, read, verb, answer."""

from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router

from apps.access import audit
from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.pages import cursor_page
from apps.http.requests import read_fields, read_object, refuse_unknown_parameters
from apps.http.schemas import Strict
from apps.runs.api.long_polls import release_thread, wait_until_final
from apps.runs.api.schemas import LogFilters, RunFilters, WaitQuery
from apps.runs.fleet import fleet_reader
from apps.runs.lifecycle import cancel
from apps.runs.list.filters import RUN_FILTERS
from apps.runs.models import Attempt
from apps.runs.models.run import Run
from apps.runs.reads import find_run, require_run, run_id_of
from apps.runs.run_page.logs import lines_after
from apps.runs.shown.attempt import AttemptList, attempt_row
from apps.runs.shown.log_line import LogPage, log_row
from apps.runs.shown.run import RunOut, RunPage, reason_row, run_detail, run_row
from apps.runs.waiting import waiting_reason

router = Router(tags=["runs"])


@router.get("/runs", response=RunPage)
def list_runs(request: HttpRequest, filters: Query[RunFilters]) -> HttpResponse:
    """Runs without their values, newest first."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, RunFilters)
    chosen = RUN_FILTERS.of_model(filters).apply(Run.objects.all())
    runs, next_cursor = cursor_page(chosen, "runs", filters.cursor, filters.limit)
    return json_response({"items": [run_row(run) for run in runs], "next_cursor": next_cursor})


@router.get("/runs/{run_id}", response=RunOut)
async def get_run(request: HttpRequest, run_id: str, query: Query[WaitQuery]) -> HttpResponse:
    """One run; with wait_seconds the answer comes when the run is final or that time is over."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, WaitQuery)
    identifier = run_id_of(run_id)
    if query.wait_seconds:
        await release_thread()
        await wait_until_final(identifier, seconds=query.wait_seconds)
    return json_response(await sync_to_async(_run_as_it_stands)(identifier))


def _run_as_it_stands(identifier: UUID) -> dict[str, Any]:
    run = find_run(identifier)
    return run_detail(run, waiting_reason=reason_row(waiting_reason(run.id, run.state)))


@router.get("/runs/{run_id}/attempts", response=AttemptList)
def list_attempts(request: HttpRequest, run_id: str) -> HttpResponse:
    """The run's attempts in order."""
    require(actor_of(request), Action.RUNS_READ)
    identifier = run_id_of(run_id)
    attempts = list(Attempt.objects.filter(run_id=identifier).defer("answer").order_by("number"))
    if not attempts:
        require_run(identifier)
    names = fleet_reader().names({attempt.worker_id for attempt in attempts})
    return json_response({"items": [attempt_row(attempt, names) for attempt in attempts]})


@router.get("/runs/{run_id}/logs", response=LogPage)
def list_logs(request: HttpRequest, run_id: str, filters: Query[LogFilters]) -> HttpResponse:
    """The run's log lines in order, from the start or after a cursor."""
    require(actor_of(request), Action.RUNS_READ)
    refuse_unknown_parameters(request, LogFilters)
    identifier = run_id_of(run_id)
    page = lines_after(identifier, filters.after, limit=filters.limit)
    if not page.lines:
        require_run(identifier)
    return json_response({"items": [log_row(line) for line in page.lines], "next_cursor": page.cursor})


@router.post("/runs/{run_id}/cancellation", response=RunOut)
def cancel_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Cancel a run: at once while it waits; a running one is asked to stop and ends within seconds."""
    actor = actor_of(request)
    require(actor, Action.RUNS_CANCEL)
    read_fields(Strict, read_object(request, is_optional=True))
    identifier = run_id_of(run_id)
    with transaction.atomic():
        run = cancel(identifier)
        audit.record(actor, Action.RUNS_CANCEL, run.public_id)
    return json_response(run_detail(find_run(identifier)))
