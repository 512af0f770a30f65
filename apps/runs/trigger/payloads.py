"""The gate for payloads: size, JSON rules and the task's own schema. What this module refuses is never stored."""

import json
from functools import lru_cache
from typing import Any

from apps.http.errors import FieldError, PayloadInvalid
from apps.http.values import encode_json
from apps.runs.tasks.payload_schemas import validator_of
from apps.runs.trigger.payload_problems import problems_of

ERRORS_SHOWN = 20


def encode_payload(payload: Any) -> str:
    """The payload as JSON text; raises PayloadInvalid with the path of what JSON or the limits forbid."""
    return read_payload(payload)[0]


def read_payload(payload: Any, *, is_parsed: bool = False) -> tuple[str, Any]:
    """The payload's text, and the value that the text is read as; None stands for no parameters.

    `is_parsed` says that it comes from `parse_json`, so that only its size and depth remain to be checked.
    """
    return encode_json({} if payload is None else payload, root="payload", is_parsed=is_parsed)


def load_stored(text: str, *, root: str = "payload") -> Any:
    """The value of stored JSON text; raises PayloadInvalid for what Python cannot read.

    Older versions stored values that are nested more deeply than Python's parser can go.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        message = "is stored, but nested too deeply to be read"
        raise PayloadInvalid(f"{root} {message}", (FieldError(root, message),)) from None


def validate_payload(payload: Any, payload_schema: str) -> None:
    """Raises PayloadInvalid naming each field that does not fit the task's annotations (a JSON Schema's text)."""
    try:
        validator = _validator(payload_schema)
    except ValueError as refused:  # from a deployment that was registered when more was allowed
        message = f"cannot be checked; deploy the task again: {str(refused).splitlines()[0]:.200}"
        raise PayloadInvalid(f"The payload {message}", (FieldError("payload", message),)) from None
    value = {} if payload is None else payload
    if validator.is_valid(value):  # a third of the cost of listing no errors
        return
    parameters = list(json.loads(payload_schema).get("properties", ()))
    found = problems_of(validator.iter_errors(value), value, parameters, limit=ERRORS_SHOWN)
    if found:
        raise PayloadInvalid(found[0].sentence, tuple(FieldError(each.place, each.message) for each in found))


@lru_cache(maxsize=512)
def _validator(schema: str) -> Any:
    return validator_of(json.loads(schema))
