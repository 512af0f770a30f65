"""The replay form, its live preview and its editors. Only the POST to a run's replays changes anything."""

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action
from apps.checkpoints.forms import FORM, FieldNote, TypedReplay
from apps.checkpoints.forms import data_field as field_name
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.queries import entries_of
from apps.checkpoints.rendering import audit_details
from apps.checkpoints.replay import replay
from apps.checkpoints.replay_page import EDITOR_BYTES, ReplayPage, data_editor, first_page, payload_editor, typed_page
from apps.checkpoints.views import parse_run_id
from apps.runs.errors import RunNotFound, RunsError
from apps.runs.models import RunValue

EDITED_LIMIT = 20
"""Editors that an address may open at once."""


@require_GET
@requires(Action.RUNS_REPLAY)
def replay_form(request: HttpRequest, run_id: str) -> HttpResponse:
    """The form in the run page's dialog, and a page of its own where scripts are off."""
    edited = [int(text) for text in request.GET.getlist("edit")[:EDITED_LIMIT] if text.isdecimal() and len(text) < 9]
    try:
        page = first_page(parse_run_id(run_id), request.GET.get("from", ""), edited)
    except RunNotFound as error:
        raise Http404(error.detail) from error
    name = "_form" if request.headers.get("HX-Request") else "page"
    return render(request, f"checkpoints/replay/{name}.html", _context(page))


@require_POST
@requires(Action.RUNS_REPLAY)
def replay_preview(request: HttpRequest, run_id: str) -> HttpResponse:
    """What would come of the fields as they stand: the preview, and each field's complaints beside it."""
    page = _typed_page(request, run_id)
    if request.headers.get("HX-Request"):
        return render(request, "checkpoints/replay/_preview.html", {**_context(page), "is_swap": True})
    return render(request, "checkpoints/replay/page.html", _context(page))


@require_POST
@requires(Action.RUNS_REPLAY)
def replay_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Leads to the new run; what is refused comes back with what was typed."""
    found = parse_run_id(run_id)
    payload = RunValue.objects.filter(run_id=found).values_list("payload", flat=True).first()
    if payload is None:
        raise Http404("There is no such run.")
    typed = TypedReplay.read(request.POST)
    keys = {entry.index: entry.key for entry in entries_of(found)}
    wanted, notes = typed.request(found, keys, payload)
    if notes:
        return _refused(request, typed_page(found, typed))
    try:
        with transaction.atomic():
            new = replay(wanted)
            audit.record(actor_of(request), Action.RUNS_REPLAY, run_id, **audit_details(wanted, new))
    except RunNotFound as error:
        raise Http404(error.detail) from error
    except RunsError as error:
        page = typed_page(found, typed)
        if not page.refusal_count:
            page.notes[FORM] = [FieldNote(error.detail)]
        return _refused(request, page)
    messages.success(request, f"This is the replay of {run_id}.")
    return redirect("runs:detail", run_id=new.public_id)


@require_GET
@requires(Action.RUNS_REPLAY)
def payload_field(request: HttpRequest, run_id: str) -> HttpResponse:
    """The editor of a payload that is too large to be in the form from the start."""
    editor = payload_editor(parse_run_id(run_id))
    if editor is None:
        raise Http404("There is no such run.")
    return render(request, "checkpoints/replay/_json_editor.html", {"editor": editor})


@require_GET
@requires(Action.RUNS_REPLAY)
def data_field(request: HttpRequest, run_id: str, index: int) -> HttpResponse:
    """The editor of what is stored at that index; `closed` puts it away, `large` opens it whatever its size."""
    found = parse_run_id(run_id)
    row = Checkpoint.objects.filter(run_id=found, index=index).values_list("key", "size_bytes").first()
    if row is None:
        raise Http404("Nothing is stored there.")
    key, size_bytes = row
    context = {"run_id": run_id, "index": index, "key": key, "size_bytes": size_bytes}
    if "closed" in request.GET:
        answer = render(request, "checkpoints/replay/_edit_closed.html", {**context, "name": field_name(index)})
        answer["HX-Trigger"] = "replay-changed"
        return answer
    if size_bytes > EDITOR_BYTES and "large" not in request.GET:
        return render(request, "checkpoints/replay/_edit_large.html", context)
    return render(request, "checkpoints/replay/_data_editor.html", {**context, "editor": data_editor(found, index)})


def _typed_page(request: HttpRequest, run_id: str) -> ReplayPage:
    try:
        return typed_page(parse_run_id(run_id), TypedReplay.read(request.POST))
    except RunNotFound as error:
        raise Http404(error.detail) from error


def _refused(request: HttpRequest, page: ReplayPage) -> HttpResponse:
    return render(request, "checkpoints/replay/page.html", _context(page), status=422)


def _context(page: ReplayPage) -> dict[str, object]:
    return {"page": page, "run_id": page.run_id, "task": page.task}
