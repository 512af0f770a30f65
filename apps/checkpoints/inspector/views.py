"""The state inspector: what a run has saved, found by key, its values opened one by one. Changes nothing."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from apps.access.guards import actor_of, requires
from apps.access.permissions import Action, is_allowed
from apps.checkpoints.inspector.queries import checkpoint_page, found_lines, step_page
from apps.checkpoints.models import Checkpoint
from apps.http.missing import missing_is_404
from apps.runs.models import Run
from apps.runs.reads import find_run, run_id_of
from apps.runs.values.responses import value_response

NUMBER_MAX_LENGTH = 8


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def checkpoint_list(request: HttpRequest, run_id: str) -> HttpResponse:
    """All that is saved, or what a key's text finds: a part of the run page, and a page of its own without scripts."""
    run = find_run(run_id_of(run_id), Run.objects.all())
    text = request.GET.get("key", "").replace("\0", "").strip()
    context = {**_context(request, run), "text": text}
    if text:
        context["found"], context["has_more_found"] = found_lines(run.id, text)
    else:
        context["checkpoints"] = checkpoint_page(run.id, after=-1)
    if not request.headers.get("HX-Request"):
        return render(request, "checkpoints/inspector/page.html", context)
    name = "_rows" if request.headers.get("HX-Target") == "checkpoint-rows" else "_list"
    return render(request, f"checkpoints/inspector/{name}.html", context)


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def checkpoint_tail(request: HttpRequest, run_id: str) -> HttpResponse:
    """The entries after an index, and the tail that asks for the next ones."""
    run = find_run(run_id_of(run_id), Run.objects.all())
    group = _number(request, "group", -1)
    page = checkpoint_page(run.id, _number(request, "after", -1), None if group < 0 else group)
    return render(request, "checkpoints/inspector/_lines.html", {**_context(request, run), "checkpoints": page})


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def checkpoint_steps(request: HttpRequest, run_id: str) -> HttpResponse:
    """The next steps of a group, as a page of their own where scripts are off."""
    run = find_run(run_id_of(run_id), Run.objects.all())
    first = _number(request, "first", 0)
    context = {**_context(request, run), "steps": step_page(run.id, first, _number(request, "after", first - 1))}
    name = "_steps" if request.headers.get("HX-Request") else "steps"
    return render(request, f"checkpoints/inspector/{name}.html", context)


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def checkpoint_data(request: HttpRequest, run_id: str, index: int) -> HttpResponse:
    checkpoint = get_object_or_404(Checkpoint, run_id=run_id_of(run_id), index=index)
    return value_response(request, checkpoint.data, file_name=f"{run_id}-checkpoint-{index}.json")


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def checkpoint_carried(request: HttpRequest, run_id: str, index: int) -> HttpResponse:
    """The values that a checkpoint carries along."""
    checkpoint = get_object_or_404(Checkpoint, run_id=run_id_of(run_id), index=index, carried__isnull=False)
    return value_response(request, checkpoint.carried or "", file_name=f"{run_id}-checkpoint-{index}-carried.json")


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= NUMBER_MAX_LENGTH else default


def _context(request: HttpRequest, run: Run) -> dict[str, object]:
    return {
        "run_id": run.public_id,
        "task": run.task_id,
        "may_replay": is_allowed(actor_of(request), Action.RUNS_REPLAY),
    }
