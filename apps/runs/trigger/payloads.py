"""The door for payloads: size, JSON rules and the task's own schema. Nothing is stored that this module refused."""

import json
from functools import lru_cache
from typing import Any

from apps.http.errors import FieldError, PayloadInvalid
from apps.http.values import encode_json
from apps.runs.tasks.payload_schemas import validator_of

ERRORS_SHOWN = 20


def encode_payload(payload: Any) -> str:
    """The payload as JSON text; raises PayloadInvalid with the path of what JSON or the limits do not allow."""
    return read_payload(payload)[0]


def read_payload(payload: Any, *, is_parsed: bool = False) -> tuple[str, Any]:
    """The payload's text, and the value that the text is read as; None stands for no parameters.

    `is_parsed` says that it comes from `parse_json`, so that only its size and depth are left to be judged.
    """
    return encode_json({} if payload is None else payload, root="payload", is_parsed=is_parsed)


def load_stored(text: str, *, root: str = "payload") -> Any:
    """The value of stored JSON text; raises PayloadInvalid for what Python cannot read.

    Older versions stored values that are nested more deeply than its parser goes.
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
    except ValueError as refused:  # of a deployment that was registered when more was allowed
        message = f"cannot be checked, deploy the task again: {str(refused).splitlines()[0]:.200}"
        raise PayloadInvalid(f"The payload {message}", (FieldError("payload", message),)) from None
    value = {} if payload is None else payload
    if validator.is_valid(value):  # a third of what listing no errors costs
        return
    found = []
    for error in validator.iter_errors(value):
        found.append(FieldError(_path(error.instance_path), error.message))
        if len(found) == ERRORS_SHOWN:
            break
    if found:
        first = found[0]
        raise PayloadInvalid(f"{first.path}: {first.message}", tuple(found))


@lru_cache(maxsize=512)
def _validator(schema: str) -> Any:
    return validator_of(json.loads(schema))


def _path(parts: list[str | int]) -> str:
    return "payload" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
