"""The tasks page."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.access.guards import actor_of, requires
from apps.access.permissions import Action, is_allowed
from apps.runs.tasks.first_run import deploy_command
from apps.runs.tasks.page import task_lines


@require_GET
@requires(Action.TASKS_READ)
def task_list(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    context = {
        "tasks": task_lines(),
        "deploy_command": deploy_command,
        "may_change": is_allowed(actor, Action.TASKS_CHANGE),
        "may_lift": is_allowed(actor, Action.TASKS_LIFT_COOLDOWN),
    }
    return render(request, "runs/tasks/page.html", context)
