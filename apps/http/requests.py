"""What the HTTP API reads: bodies, bounded and under the rules of stored values, and their fields.

Payloads are never checked against a schema here; that is the task's own, at the verb.
"""

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.http import HttpRequest
from django.http.request import UnreadablePostError
from pydantic import BaseModel, ValidationError

from apps.http.errors import BodyTooLarge, FieldError, PayloadMalformed, RequestInvalid
from apps.http.values import parse_json

BODY_MAX_BYTES = 3 * 1024 * 1024
"""A payload of 3,000,000 bytes and 140 KB for the rest, as they were sent."""

BATCH_BODY_MAX_BYTES = 8 * 1024 * 1024
"""As much as the site takes of any request."""

Model = TypeVar("Model", bound=BaseModel)


def read_object(
    request: HttpRequest, *, is_optional: bool = False, envelope_depth: int = 1, max_bytes: int = BODY_MAX_BYTES
) -> dict[str, Any]:
    """The body's JSON object; an empty body counts as `{}` where it is optional. `envelope_depth` is how many levels
    stand around the deepest value that is to be stored.

    Raises PayloadMalformed (not JSON), PayloadInvalid (JSON that cannot be stored, with the path) and BodyTooLarge.
    """
    try:
        # A declared length may be missing, so the reading itself is what is bounded.
        raw = request.read(max_bytes + 1)
    except UnreadablePostError as error:
        raise PayloadMalformed("The body ended before it was complete.") from error
    if len(raw) > max_bytes:
        raise BodyTooLarge(f"The body has more than {max_bytes:,} bytes.")
    if is_optional and not raw.strip():
        return {}
    body = parse_json(raw, envelope_depth=envelope_depth)
    if not isinstance(body, dict):
        raise RequestInvalid.at((FieldError("", "the body must be a JSON object"),))
    return body


def read_fields(model: type[Model], value: Any, *, root: str = "") -> Model:
    """The value as that model, without any conversion of types; raises RequestInvalid with each field's path."""
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise RequestInvalid.at(tuple(field_errors(error.errors(include_url=False), root=root))) from error


def refuse_other_fields(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises RequestInvalid naming fields that nothing reads."""
    if found := tuple(FieldError(name[:200], "unknown field") for name in body if name not in known):
        raise RequestInvalid.at(found)


def refuse_unknown_parameters(request: HttpRequest, model: type[BaseModel]) -> None:
    """Raises RequestInvalid for query parameters that are misspelled, sent twice or not storable as text.

    Ninja reads the model's own names and would let a misspelled filter pass as no filter.
    """
    found = []
    for name, values in request.GET.lists():
        if name not in model.model_fields:
            found.append(FieldError(name, "unknown parameter"))
        elif len(values) > 1:
            found.append(FieldError(name, "may be sent only once"))
        elif "\0" in values[0]:
            found.append(FieldError(name, "holds the NUL character"))
    if found:
        raise RequestInvalid.at(tuple(found))


def field_errors(found: Any, *, root: str = "") -> list[FieldError]:
    """Pydantic's findings in our words and paths."""
    return [FieldError(_path(root, error["loc"]), _message(error)) for error in found]


def _path(root: str, location: tuple[str | int, ...]) -> str:
    path = root
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _message(error: Any) -> str:
    return "unknown field" if error["type"] == "extra_forbidden" else str(error["msg"])
