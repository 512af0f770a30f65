"""Pages of a run's payload and output: the tree, its branches, and the stored text itself."""

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_GET

from apps.access.guards import requires
from apps.access.permissions import Action
from apps.http.missing import missing_is_404
from apps.runs.reads import find_run, run_id_of
from apps.runs.values.responses import value_context, value_response


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def run_values(request: HttpRequest, run_id: str) -> HttpResponse:
    """Payload and output as trees: a part of the run page, and a page of its own where scripts are off."""
    run = find_run(run_id_of(run_id))
    context = {
        "run_id": run_id,
        "is_moving": not run.is_final,
        "payload": value_context(run.value.payload, _url(run_id, "payload")),
        "output": value_context(run.value.output, _url(run_id, "output")),
    }
    template = "runs/values/_values.html" if request.headers.get("HX-Request") else "runs/values/page.html"
    return render(request, template, context)


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def run_output(request: HttpRequest, run_id: str) -> HttpResponse:
    run = find_run(run_id_of(run_id))
    output = value_context(run.value.output, _url(run_id, "output"))
    context = {"run_id": run_id, "output": output, "is_moving": not run.is_final}
    return render(request, "runs/values/_output.html", context)


@require_GET
@requires(Action.RUNS_READ)
@missing_is_404()
def run_value(request: HttpRequest, run_id: str, name: str) -> HttpResponse:
    run = find_run(run_id_of(run_id))
    text = {"payload": run.value.payload, "output": run.value.output}.get(name)
    if text is None:
        raise Http404("There is no such value.")
    return value_response(request, text, file_name=f"{run_id}-{name}.json")


def _url(run_id: str, name: str) -> str:
    return reverse("runs:value", args=[run_id, name])
