"""Requeueing a dead letter, pausing a task and lifting its cool-down. GET changes nothing; a POST leads back."""

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
from apps.queues.controls import lift_cooldown, set_task
from apps.queues.dead_letters import requeue
from apps.queues.forms import requeue_form_of
from apps.runs.errors import IllegalMove, RunNotFound, RunsError, TaskNotFound
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
            return render(request, "queues/dead_letters/_requeue_too_late.html", {"detail": error.detail})
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    template = "queues/dead_letters/_requeue_form.html" if is_part else "queues/dead_letters/requeue.html"
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


@require_POST
@requires(Action.TASKS_CHANGE)
def pause_task(request: HttpRequest, task_id: str) -> HttpResponse:
    return _set_paused(request, task_id, is_paused=True)


@require_POST
@requires(Action.TASKS_CHANGE)
def resume_task(request: HttpRequest, task_id: str) -> HttpResponse:
    return _set_paused(request, task_id, is_paused=False)


def _set_paused(request: HttpRequest, task_id: str, *, is_paused: bool) -> HttpResponse:
    try:
        with transaction.atomic():
            set_task(task_id, is_paused=is_paused)
            audit.record(actor_of(request), Action.TASKS_CHANGE, task_id, is_paused=is_paused)
    except TaskNotFound as error:
        raise Http404(error.detail) from error
    done = "is paused: what runs goes on, nothing new is started." if is_paused else "goes on."
    messages.success(request, f"{task_id} {done}")
    return redirect("runs:tasks")


@require_POST
@requires(Action.TASKS_LIFT_COOLDOWN)
def lift_task_cooldown(request: HttpRequest, task_id: str) -> HttpResponse:
    try:
        with transaction.atomic():
            if is_lifted := lift_cooldown(task_id):
                audit.record(actor_of(request), Action.TASKS_LIFT_COOLDOWN, task_id)
    except TaskNotFound as error:
        raise Http404(error.detail) from error
    done = "The cool-down is lifted." if is_lifted else "It had ended already."
    messages.success(request, done)
    return redirect("runs:tasks")


def _refused(request: HttpRequest, run_id: str, wanted: str, refusal: RunsError) -> HttpResponse:
    try:
        form = requeue_form_of(_parse(run_id), wanted, refusal.detail)
    except IllegalMove as error:
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    return render(request, "queues/dead_letters/requeue.html", {"form": form, "run_id": run_id}, status=422)


def _parse(run_id: str) -> UUID:
    found = parse_public_id("run", run_id)
    if found is None:
        raise Http404("That is not the id of a run.")
    return found
