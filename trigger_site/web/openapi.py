"""Adds refusals to the API's description: the statuses each operation may answer with, and their form.

Handlers raise named errors; which of them an operation can meet follows from its method, parameters and body.
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from apps.http.problems import CONTENT_TYPE
from apps.http.schemas import ProblemOut

REFERENCE = "#/components/schemas/{model}"
EVERYWHERE = (401, 403, 500, 503)
TRIGGERING = frozenset({"trigger_run", "trigger_batch"})
MOVING = frozenset({"cancel_run", "bump_run", "requeue_run", "preview_requeue", "discard_run"})
"""State changes: refused in another state, or if another request was quicker."""

FILTERED = frozenset({"requeue_dead_letters", "discard_dead_letters"})
"""Their bodies name rows that may not exist."""


def describe_problems(document: dict[str, Any]) -> None:
    """Adds the form of a problem and, to each operation, the error statuses it may answer with."""
    schemas = document["components"]["schemas"]
    problem = ProblemOut.model_json_schema(ref_template=REFERENCE)
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemOut"] = problem
    for methods in document["paths"].values():
        for operation in methods.values():
            for status in sorted(set(_statuses(operation))):
                operation["responses"][str(status)] = _response(HTTPStatus(status).phrase)
            operation["responses"]["default"] = _response("Any other refusal")


def _statuses(operation: Mapping[str, Any]) -> Iterator[int]:
    yield from EVERYWHERE
    name = operation["operationId"]
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])) or name in FILTERED:
        yield 404
    if "requestBody" in operation:
        yield from (400, 413, 422)
    if any(parameter["in"] == "query" for parameter in operation.get("parameters", [])):
        yield from (400, 422)
    if name in TRIGGERING:
        yield from (404, 409, 429)
    if name in MOVING:
        yield 409


def _response(description: str) -> dict[str, Any]:
    reference = {"$ref": REFERENCE.format(model="ProblemOut")}
    return {"description": f"{description}.", "content": {CONTENT_TYPE: {"schema": reference}}}
