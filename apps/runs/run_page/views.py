"""The run page, its fragments, and cancellation."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action, is_allowed
from apps.http.errors import RequestInvalid
from apps.http.missing import missing_is_404
from apps.runs.errors import IllegalMove
from apps.runs.lifecycle import cancel
from apps.runs.list.filters import RunFilter
from apps.runs.list.queries import neighbours
from apps.runs.reads import require_run, run_id_of
from apps.runs.run_page.logs import lines_after, newest_lines
from apps.runs.run_page.summary import run_summary


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def run_page(request: HttpRequest, run_id: str) -> HttpResponse:
    context = _summary_context(request, run_id)
    found = run_id_of(run_id)
    chosen = RunFilter.read(request.GET)
    newer, older = neighbours(chosen, found)
    context |= {"logs": newest_lines(found), "newer": newer, "older": older}
    context["list_query"] = chosen.at_start().query
    context["trigger_program"] = settings.TRIGGER_COMMAND
    context["has_requeue"] = is_allowed(actor_of(request), Action.RUNS_REQUEUE)
    return render(request, "runs/run_page/page.html", context)


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def summary_fragment(request: HttpRequest, run_id: str) -> HttpResponse:
    return render(request, "runs/run_page/_summary.html", _summary_context(request, run_id))


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def log_fragment(request: HttpRequest, run_id: str) -> HttpResponse:
    """The lines after a cursor, and the tail that asks for the next ones."""
    found = run_id_of(run_id)
    require_run(found)
    try:
        page = lines_after(found, request.GET.get("after") or None)
    except RequestInvalid:  # from an old page, or typed by hand: start from the beginning
        page = lines_after(found, None)
    return render(request, "runs/run_page/_log_lines.html", {"logs": page, "run_id": run_id})


@require_POST
@requires(Action.RUNS_CANCEL)
@missing_is_404()
def run_cancellation(request: HttpRequest, run_id: str) -> HttpResponse:
    try:
        with transaction.atomic():
            audit.record(actor_of(request), Action.RUNS_CANCEL, run_id)
            run = cancel(run_id_of(run_id))
    except IllegalMove as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "The run is canceled." if run.is_final else "The run was asked to stop.")
    return redirect("runs:detail", run_id=run_id)


def _summary_context(request: HttpRequest, run_id: str) -> dict[str, Any]:
    is_to_scale = request.GET.get("idle") == "full"
    run = run_summary(run_id_of(run_id), is_to_scale=is_to_scale)
    actor = actor_of(request)
    return {
        "run": run,
        "is_to_scale": is_to_scale,
        "may_cancel": run.is_cancelable and is_allowed(actor, Action.RUNS_CANCEL),
        "may_replay": is_allowed(actor, Action.RUNS_REPLAY),
        "may_requeue": run.is_dead_letter and is_allowed(actor, Action.RUNS_REQUEUE),
    }
