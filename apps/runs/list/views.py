"""The list of runs and its fragments. Each reads its parameters, calls a query and renders."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from apps.access.guards import requires
from apps.access.permissions import Action
from apps.runs.list.filters import PAGE_FILTERS, RunFilter
from apps.runs.list.queries import NEWER_COUNT_LIMIT, list_page, newer_count, run_lines
from apps.runs.models import Run
from apps.runs.tasks.first_run import deploy_command, trigger_command
from apps.storage.ids import parse_public_id


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
    page = list_page(chosen)
    context = {
        "page": page,
        "chosen": chosen,
        "tasks": PAGE_FILTERS.suggestions("task"),
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
