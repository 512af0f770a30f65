"""JSON values from outside, read and written under the codec's rules; refusals name the path."""

import json
from typing import Any

from trigger_sdk.values import codec

from apps.http.errors import FieldError, PayloadInvalid, PayloadMalformed, PayloadTooLarge
from apps.storage.values import nesting

VALUE_MAX_BYTES = codec.MAX_VALUE_BYTES

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_json(value: Any, *, root: str, max_bytes: int = VALUE_MAX_BYTES, is_parsed: bool = False) -> tuple[str, Any]:
    """The JSON text of a value, and the value that the text is read as; `root` opens the paths of the errors."""
    try:
        text = _write(value)
        raw = text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadInvalid(f"The {root} is not JSON: {error}", (FieldError(root, str(error)),)) from error
    if len(raw) > max_bytes:
        raise PayloadTooLarge(f"The {root} has {len(raw):,} bytes; the limit is {max_bytes:,}.")
    if is_parsed and nesting(raw) <= codec.MAX_DEPTH:
        return text, value
    return text, parse_json(raw, root=root)


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
