"""The requeue of a dead letter: its form, and the POST that leads back to the run."""

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action
from apps.checkpoints.resume import ORIGINAL
from apps.http.errors import Refusal
from apps.http.missing import missing_is_404
from apps.queues.dead_letters.forms import requeue_form_of
from apps.queues.dead_letters.one import requeue
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.models.run import Run
from apps.runs.reads import find_run, run_id_of


@require_GET
@requires(Action.RUNS_REQUEUE)
@missing_is_404()
def requeue_form(request: HttpRequest, run_id: str) -> HttpResponse:
    """The form in the run page's dialog, and a page of its own where scripts are off."""
    is_part = bool(request.headers.get("HX-Request"))
    try:
        form = requeue_form_of(run_id_of(run_id))
    except IllegalMove as error:
        if is_part:
            return render(request, "queues/dead_letters/_requeue_too_late.html", {"detail": error.detail})
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    template = "queues/dead_letters/_requeue_form.html" if is_part else "queues/dead_letters/requeue.html"
    return render(request, template, {"form": form, "run_id": run_id})


@require_POST
@requires(Action.RUNS_REQUEUE)
@missing_is_404()
def requeue_run(request: HttpRequest, run_id: str) -> HttpResponse:
    found = run_id_of(run_id)
    wanted = request.POST.get("deployment") or ORIGINAL
    try:
        with transaction.atomic():
            run = requeue(run_id=found, deployment=wanted)
            audit.record(actor_of(request), Action.RUNS_REQUEUE, run_id, deployment=wanted)
    except RunNotFound:
        raise
    except IllegalMove as error:
        messages.error(request, error.detail)
    except Refusal as error:
        return _refused(request, run_id, wanted, error)
    else:
        messages.success(
            request, f"Requeued: it goes on with {find_run(run.id, Run.objects.with_deployments()).deployment}."
        )
    return redirect("runs:detail", run_id=run_id)


def _refused(request: HttpRequest, run_id: str, wanted: str, refusal: Refusal) -> HttpResponse:
    try:
        form = requeue_form_of(run_id_of(run_id), wanted, refusal.detail)
    except IllegalMove as error:
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    return render(request, "queues/dead_letters/requeue.html", {"form": form, "run_id": run_id}, status=422)
