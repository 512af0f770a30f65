"""The pages of runs and tasks. Each reads its parameters, calls a query or a verb, and renders; GET changes nothing."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action, is_allowed
from apps.runs.errors import IllegalMove, RunNotFound
from apps.runs.filters import RunFilter
from apps.runs.first_run import deploy_command, trigger_command
from apps.runs.ids import parse_public_id
from apps.runs.lifecycle import cancel
from apps.runs.models import Run, Task
from apps.runs.queries import NEWER_COUNT_LIMIT, neighbours, newer_count, run_lines, run_page, task_lines
from apps.runs.run_page import log_page, read_cursor, run_summary

TASK_CHOICES_LIMIT = 500


@require_GET
def home(request: HttpRequest) -> HttpResponse:
    return redirect("runs:list")


@require_GET
@requires(Action.RUNS_READ)
def run_list(request: HttpRequest) -> HttpResponse:
    chosen = RunFilter.read(request.GET)
    found = parse_public_id("run", chosen.search)
    if found and Run.objects.filter(id=found).exists():
        return redirect("runs:detail", run_id=chosen.search)
    page = run_page(chosen)
    tasks = Task.objects.filter(is_retired=False).order_by("id").values_list("id", flat=True)[:TASK_CHOICES_LIMIT]
    context = {
        "page": page,
        "chosen": chosen,
        "tasks": list(tasks),
        "chosen_task": chosen.tasks[0] if len(chosen.tasks) == 1 else "",
        "task_removals": [
            (task, chosen.for_tasks(t for t in chosen.tasks if t != task).query) for task in chosen.tasks
        ],
        "trigger_command": trigger_command,
        "deploy_command": deploy_command,
        "first_id": page.lines[0].id if page.lines and chosen.is_first_page else "",
    }
    return render(request, "runs/list/page.html", context)


@require_GET
@requires(Action.RUNS_READ)
def run_rows(request: HttpRequest) -> HttpResponse:
    """The rows named by `ids`, for those of an open list that changed."""
    ids = [parse_public_id("run", text) for text in request.GET.get("ids", "").split(",")]
    lines = run_lines(found for found in ids if found)
    query = RunFilter.read(request.GET).query
    return render(request, "runs/list/_rows_changed.html", {"lines": lines, "list_query": query})


@require_GET
@requires(Action.RUNS_READ)
def newer_runs(request: HttpRequest) -> HttpResponse:
    """The pill over the list: how many matching runs came since its first row."""
    chosen = RunFilter.read(request.GET)
    first_id = request.GET.get("since", "")
    since = parse_public_id("run", first_id) or UUID(int=0)
    count = newer_count(chosen, since)
    label = f"{NEWER_COUNT_LIMIT - 1}+" if count >= NEWER_COUNT_LIMIT else str(count)
    context = {"count": count, "label": label, "chosen": chosen, "first_id": first_id}
    return render(request, "runs/list/_newer.html", context)


@require_GET
@requires(Action.RUNS_READ)
def run_detail(request: HttpRequest, run_id: str) -> HttpResponse:
    context = _summary_context(request, run_id)
    found = _parse(run_id)
    chosen = RunFilter.read(request.GET)
    newer, older = neighbours(chosen, found)
    context |= {"logs": log_page(found, None), "newer": newer, "older": older}
    context["list_query"] = chosen.at_start().query
    context["has_requeue"] = is_allowed(actor_of(request), Action.RUNS_REQUEUE)
    return render(request, "runs/run_page/page.html", context)


@require_GET
@requires(Action.RUNS_READ)
def summary_fragment(request: HttpRequest, run_id: str) -> HttpResponse:
    return render(request, "runs/run_page/_summary.html", _summary_context(request, run_id))


@require_GET
@requires(Action.RUNS_READ)
def log_fragment(request: HttpRequest, run_id: str) -> HttpResponse:
    """The lines after a cursor, and the tail that asks for the next ones."""
    found = _parse(run_id)
    state = Run.objects.filter(id=found).first()
    if state is None:
        raise Http404("There is no such run.")
    page = log_page(found, read_cursor(request.GET.get("after", "")) or (0, 0))
    return render(request, "runs/run_page/_log_lines.html", {"logs": page, "run_id": run_id})


@require_POST
@requires(Action.RUNS_CANCEL)
def run_cancellation(request: HttpRequest, run_id: str) -> HttpResponse:
    try:
        with transaction.atomic():
            audit.record(actor_of(request), Action.RUNS_CANCEL, run_id)
            run = cancel(_parse(run_id))
    except RunNotFound as error:
        raise Http404(error.detail) from error
    except IllegalMove as error:
        messages.error(request, error.detail)
    else:
        messages.success(request, "The run is canceled." if run.is_final else "The run was asked to stop.")
    return redirect("runs:detail", run_id=run_id)


@require_GET
@requires(Action.TASKS_READ)
def task_list(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    context = {
        "tasks": task_lines(),
        "may_change": is_allowed(actor, Action.TASKS_CHANGE),
        "may_lift": is_allowed(actor, Action.TASKS_LIFT_COOLDOWN),
        "deploy_command": deploy_command,
    }
    return render(request, "runs/tasks/page.html", context)


def _parse(run_id: str) -> UUID:
    found = parse_public_id("run", run_id)
    if found is None:
        raise Http404("That is not the id of a run.")
    return found


def _summary_context(request: HttpRequest, run_id: str) -> dict[str, Any]:
    is_to_scale = request.GET.get("idle") == "full"
    run = run_summary(_parse(run_id), is_to_scale=is_to_scale)
    if run is None:
        raise Http404("There is no such run.")
    actor = actor_of(request)
    return {
        "run": run,
        "is_to_scale": is_to_scale,
        "may_cancel": run.is_cancelable and is_allowed(actor, Action.RUNS_CANCEL),
        "may_replay": is_allowed(actor, Action.RUNS_REPLAY),
        "may_requeue": run.is_dead_letter and is_allowed(actor, Action.RUNS_REQUEUE),
    }
