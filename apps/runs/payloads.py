"""The door for payloads: size, JSON rules and the task's own schema. Nothing is stored that this module refused."""

import json
from functools import lru_cache
from typing import Any

import jsonschema_rs
from trigger_sdk import codec

from apps.runs.errors import FieldError, PayloadInvalid, PayloadMalformed, PayloadTooLarge

PAYLOAD_MAX_BYTES = codec.MAX_VALUE_BYTES
ERRORS_SHOWN = 20


def encode_payload(payload: Any) -> str:
    """The payload as JSON text; raises PayloadInvalid with the path of what JSON or the limits do not allow."""
    try:
        text = json.dumps(
            {} if payload is None else payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        raw = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadInvalid(f"The payload is not JSON: {error}", (FieldError("payload", str(error)),)) from error
    if len(raw) > PAYLOAD_MAX_BYTES:
        raise PayloadTooLarge(f"The payload has {len(raw):,} bytes; the limit is {PAYLOAD_MAX_BYTES:,}.")
    parse_json(raw, root="payload")
    return text


def parse_json(raw: bytes, *, root: str = "", envelope_depth: int = 0) -> Any:
    """The value of a JSON text under the codec's rules; `root` opens the paths of the errors.

    `envelope_depth` is how many levels of the text stand around the value that is to be stored; the caller bounds its
    bytes.
    """
    try:
        return codec.parse_payload(raw, max_depth=codec.MAX_DEPTH + envelope_depth, max_bytes=len(raw))
    except codec.MalformedJson as error:
        raise PayloadMalformed(f"The {root or 'body'} is not JSON: {error}") from error
    except codec.CodecError as error:
        path = (root + error.path.removeprefix("$")).removeprefix(".")
        raise PayloadInvalid(f"{path}: {error.message}", (FieldError(path, error.message),)) from error


def validate_payload(payload: Any, payload_schema: str) -> None:
    """Raises PayloadInvalid naming each field that does not fit the task's annotations (a JSON Schema's text)."""
    validator = _validator(payload_schema)
    found = []
    for error in validator.iter_errors({} if payload is None else payload):
        found.append(FieldError(_path(error.instance_path), error.message))
        if len(found) == ERRORS_SHOWN:
            break
    if found:
        first = found[0]
        raise PayloadInvalid(f"{first.path}: {first.message}", tuple(found))


@lru_cache(maxsize=512)
def _validator(schema: str) -> Any:
    return jsonschema_rs.Draft202012Validator(json.loads(schema))


def _path(parts: list[str | int]) -> str:
    return "payload" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
