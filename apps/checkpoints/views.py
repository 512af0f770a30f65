"""The state inspector and the replay form. GET changes nothing; a replay is a POST that leads to the new run."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action, is_allowed
from apps.checkpoints.errors import CheckpointNotFound
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.queries import checkpoint_page, replay_choices
from apps.checkpoints.replay import replay
from apps.runs.errors import RunsError
from apps.runs.ids import parse_public_id
from apps.runs.json_pages import value_response
from apps.runs.models import Run


@require_GET
@requires(Action.RUNS_READ)
def checkpoint_list(request: HttpRequest, run_id: str) -> HttpResponse:
    """All checkpoints: a part of the run page, and a page of its own where scripts are off."""
    context = _page_context(request, _run(run_id), after=-1)
    template = "checkpoints/_list.html" if request.headers.get("HX-Request") else "checkpoints/list.html"
    return render(request, template, context)


@require_GET
@requires(Action.RUNS_READ)
def checkpoint_tail(request: HttpRequest, run_id: str) -> HttpResponse:
    """The checkpoints after an index, and the tail that asks for the next ones."""
    after = request.GET.get("after", "")
    index = int(after) if after.isdecimal() and len(after) < 9 else -1
    return render(request, "checkpoints/_lines.html", _page_context(request, _run(run_id), after=index))


@require_GET
@requires(Action.RUNS_READ)
def checkpoint_data(request: HttpRequest, run_id: str, index: int) -> HttpResponse:
    checkpoint = get_object_or_404(Checkpoint, run_id=_parse(run_id), index=index)
    return value_response(request, checkpoint.data, file_name=f"{run_id}-checkpoint-{index}.json")


@require_GET
@requires(Action.RUNS_REPLAY)
def replay_form(request: HttpRequest, run_id: str) -> HttpResponse:
    """Where to start, with what that reuses and what it runs again."""
    run = _run(run_id)
    choices = replay_choices(run.id, request.GET.get("from", ""))
    context = {"run_id": run_id, "task": run.task_id, "choices": choices}
    return render(request, "checkpoints/_replay_form.html", context)


@require_POST
@requires(Action.RUNS_REPLAY)
def replay_run(request: HttpRequest, run_id: str) -> HttpResponse:
    found = _run(run_id)
    key = request.POST.get("from_checkpoint") or None
    try:
        with transaction.atomic():
            new = replay(run_id=found.id, from_checkpoint=key)
            audit.record(actor_of(request), Action.RUNS_REPLAY, run_id, from_checkpoint=key, new_run=new.public_id)
    except (CheckpointNotFound, RunsError) as error:
        messages.error(request, error.detail)
        return redirect("runs:detail", run_id=run_id)
    messages.success(request, f"This is the replay of {run_id}.")
    return redirect("runs:detail", run_id=new.public_id)


def _parse(run_id: str) -> UUID:
    found = parse_public_id("run", run_id)
    if found is None:
        raise Http404("That is not the id of a run.")
    return found


def _run(run_id: str) -> Run:
    return get_object_or_404(Run, id=_parse(run_id))


def _page_context(request: HttpRequest, run: Run, *, after: int) -> dict[str, Any]:
    return {
        "run_id": run.public_id,
        "task": run.task_id,
        "checkpoints": checkpoint_page(run.id, after),
        "may_replay": is_allowed(actor_of(request), Action.RUNS_REPLAY),
    }
