"""The replay form, its live preview and its editors. Only the POST to a run's replays changes anything."""

from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from apps.access import audit
from apps.access.guards import actor_of, requires
from apps.access.permissions import Action
from apps.checkpoints.inspector.queries import entries_of
from apps.checkpoints.models import Checkpoint
from apps.checkpoints.replay.create import replay
from apps.checkpoints.replay.forms import FORM, FieldNote, TypedReplay, data_field_name
from apps.checkpoints.replay.page import EDITOR_BYTES, ReplayPage, data_editor, first_page, payload_editor, typed_page
from apps.checkpoints.replay.shown import audit_details
from apps.http.errors import Refusal
from apps.http.missing import missing_is_404
from apps.runs.errors import RunNotFound
from apps.runs.reads import find_run, run_id_of

EDITED_LIMIT = 20
"""Editors that an address may open at once."""


@require_GET
@requires(Action.RUNS_REPLAY)
@missing_is_404()
def replay_form(request: HttpRequest, run_id: str) -> HttpResponse:
    """The form in the run page's dialog, and a page of its own where scripts are off."""
    edited = [int(text) for text in request.GET.getlist("edit")[:EDITED_LIMIT] if text.isdecimal() and len(text) < 9]
    page = first_page(run_id_of(run_id), request.GET.get("from", ""), edited)
    is_part = request.headers.get("HX-Request")
    return render(
        request, "checkpoints/replay/_form.html" if is_part else "checkpoints/replay/page.html", _context(page)
    )


@require_POST
@requires(Action.RUNS_REPLAY)
@missing_is_404()
def replay_preview(request: HttpRequest, run_id: str) -> HttpResponse:
    """What would come of the fields as they stand: the preview, and each field's complaints beside it."""
    page = _typed_page(request, run_id)
    if request.headers.get("HX-Request"):
        return render(request, "checkpoints/replay/_preview.html", {**_context(page), "is_swap": True})
    return render(request, "checkpoints/replay/page.html", _context(page))


@require_POST
@requires(Action.RUNS_REPLAY)
@missing_is_404()
def replay_run(request: HttpRequest, run_id: str) -> HttpResponse:
    """Leads to the new run; what is refused comes back with what was typed."""
    found = run_id_of(run_id)
    payload = find_run(found).value.payload
    typed = TypedReplay.read(request.POST)
    keys = {entry.index: entry.key for entry in entries_of(found)}
    wanted, notes = typed.request(found, keys, payload)
    if notes:
        return _refused(request, typed_page(found, typed))
    try:
        with transaction.atomic():
            new = replay(wanted)
            audit.record(actor_of(request), Action.RUNS_REPLAY, run_id, **audit_details(wanted, new))
    except RunNotFound:
        raise
    except Refusal as error:
        page = typed_page(found, typed)
        if not page.refusal_count:
            page.notes[FORM] = [FieldNote(error.detail)]
        return _refused(request, page)
    messages.success(request, f"This is the replay of {run_id}.")
    return redirect("runs:detail", run_id=new.public_id)


@require_GET
@requires(Action.RUNS_REPLAY)
@missing_is_404()
def payload_field(request: HttpRequest, run_id: str) -> HttpResponse:
    """The editor of a payload that is too large to be in the form from the start."""
    editor = payload_editor(run_id_of(run_id))
    return render(request, "checkpoints/replay/_json_editor.html", {"editor": editor})


@require_GET
@requires(Action.RUNS_REPLAY)
@missing_is_404()
def data_field(request: HttpRequest, run_id: str, index: int) -> HttpResponse:
    """The editor of what is stored at that index; `closed` puts it away, `large` opens it whatever its size."""
    found = run_id_of(run_id)
    row = Checkpoint.objects.filter(run_id=found, index=index).values_list("key", "size_bytes").first()
    if row is None:
        raise Http404("Nothing is stored there.")
    key, size_bytes = row
    context = {"run_id": run_id, "index": index, "key": key, "size_bytes": size_bytes}
    if "closed" in request.GET:
        answer = render(request, "checkpoints/replay/_edit_closed.html", {**context, "name": data_field_name(index)})
        answer["HX-Trigger"] = "replay-changed"
        return answer
    if size_bytes > EDITOR_BYTES and "large" not in request.GET:
        return render(request, "checkpoints/replay/_edit_large.html", context)
    return render(request, "checkpoints/replay/_data_editor.html", {**context, "editor": data_editor(found, index)})


def _typed_page(request: HttpRequest, run_id: str) -> ReplayPage:
    return typed_page(run_id_of(run_id), TypedReplay.read(request.POST))


def _refused(request: HttpRequest, page: ReplayPage) -> HttpResponse:
    return render(request, "checkpoints/replay/page.html", _context(page), status=422)


def _context(page: ReplayPage) -> dict[str, object]:
    return {"page": page, "run_id": page.run_id, "task": page.task}
