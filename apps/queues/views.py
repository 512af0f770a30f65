"""Requeueing a dead letter, pausing a task and lifting its cool-down. GET changes nothing; a POST leads back."""

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action
from apps.http.missing import missing_is_404
from apps.queues.controls import lift_cooldown, set_task


@require_POST
@requires(Action.TASKS_CHANGE)
@missing_is_404()
def pause_task(request: HttpRequest, task_id: str) -> HttpResponse:
    return _set_paused(request, task_id, is_paused=True)


@require_POST
@requires(Action.TASKS_CHANGE)
@missing_is_404()
def resume_task(request: HttpRequest, task_id: str) -> HttpResponse:
    return _set_paused(request, task_id, is_paused=False)


def _set_paused(request: HttpRequest, task_id: str, *, is_paused: bool) -> HttpResponse:
    with transaction.atomic():
        set_task(task_id, is_paused=is_paused)
        audit.record(actor_of(request), Action.TASKS_CHANGE, task_id, is_paused=is_paused)
    done = "is paused: what runs goes on, nothing new is started." if is_paused else "goes on."
    messages.success(request, f"{task_id} {done}")
    return redirect("runs:tasks")


@require_POST
@requires(Action.TASKS_LIFT_COOLDOWN)
@missing_is_404()
def lift_task_cooldown(request: HttpRequest, task_id: str) -> HttpResponse:
    with transaction.atomic():
        if is_lifted := lift_cooldown(task_id):
            audit.record(actor_of(request), Action.TASKS_LIFT_COOLDOWN, task_id)
    done = "The cool-down is lifted." if is_lifted else "It had ended already."
    messages.success(request, done)
    return redirect("runs:tasks")
