"""HTTP API of tasks: read here; what people set for them is changed in `queues`."""

from django.http import HttpRequest, HttpResponse

from apps.access.guards import actor_of
from apps.access.permissions import Action, require
from apps.http.answers import json_response
from apps.http.shared_routes import task_routes
from apps.runs.shown.task import TaskDetailOut, TaskList, task_detail, task_row
from apps.runs.tasks.versions import current_versions


@task_routes.get("/tasks", response=TaskList)
def list_tasks(request: HttpRequest) -> HttpResponse:
    """Every task as its newest deployment declares it."""
    require(actor_of(request), Action.TASKS_READ)
    return json_response({"items": [task_row(*pair) for pair in current_versions()]})


@task_routes.get("/tasks/{task}", response=TaskDetailOut)
def get_task(request: HttpRequest, task: str) -> HttpResponse:
    """One task with its options, payload schema, resume points and versions, its limits and how it fails."""
    require(actor_of(request), Action.TASKS_READ)
    return json_response(task_detail(task))
