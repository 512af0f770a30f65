"""Requeueing a dead letter. GET changes nothing; the POST leads back to the run, which goes on."""

from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action
from apps.checkpoints.resume import ORIGINAL, find_earlier_run
from apps.queues.dead_letters import requeue
from apps.queues.forms import requeue_form_of
from apps.runs.errors import IllegalMove, RunNotFound, RunsError
from apps.runs.ids import parse_public_id


@require_GET
@requires(Action.RUNS_REQUEUE)
def requeue_form(request: HttpRequest, run_id: str) -> HttpResponse:
    """The form in the run page's dialog, and a page of its own where scripts are off."""
    is_part = bool(request.headers.get("HX-Request"))
    try:
        form = requeue_form_of(_parse(run_id))
    except RunNotFound as error:
        raise Http404(error.detail) from error
    except IllegalMove as error:
        if is_part:
            return render(request, "queues/_requeue_too_late.html", {"detail": error.detail})
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    template = "queues/_requeue_form.html" if is_part else "queues/requeue.html"
    return render(request, template, {"form": form, "run_id": run_id})


@require_POST
@requires(Action.RUNS_REQUEUE)
def requeue_run(request: HttpRequest, run_id: str) -> HttpResponse:
    found = _parse(run_id)
    wanted = request.POST.get("deployment") or ORIGINAL
    try:
        with transaction.atomic():
            run = requeue(run_id=found, deployment=wanted)
            audit.record(actor_of(request), Action.RUNS_REQUEUE, run_id, deployment=wanted)
    except RunNotFound as error:
        raise Http404(error.detail) from error
    except IllegalMove as error:
        messages.error(request, error.detail)
    except RunsError as error:
        return _refused(request, run_id, wanted, error)
    else:
        messages.success(request, f"Requeued: it goes on with {find_earlier_run(run.id).deployment}.")
    return redirect("runs:detail", run_id=run_id)


def _refused(request: HttpRequest, run_id: str, wanted: str, refusal: RunsError) -> HttpResponse:
    try:
        form = requeue_form_of(_parse(run_id), wanted, refusal.detail)
    except IllegalMove as error:
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    return render(request, "queues/requeue.html", {"form": form, "run_id": run_id}, status=422)


def _parse(run_id: str) -> UUID:
    found = parse_public_id("run", run_id)
    if found is None:
        raise Http404("That is not the id of a run.")
    return found
