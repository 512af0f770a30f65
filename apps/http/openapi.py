"""What the OpenAPI document says of bodies that a handler reads itself."""

from typing import Any

from pydantic import BaseModel


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The operation's `openapi_extra`: the body as that model."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    return {"requestBody": {"content": {"application/json": {"schema": _inline(schema, parts)}}}}


def _inline(schema: Any, parts: dict[str, Any]) -> Any:
    """The schema with its references replaced: inside an OpenAPI document they would point nowhere."""
    if isinstance(schema, list):
        return [_inline(item, parts) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline(parts[schema["$ref"].rpartition("/")[2]], parts)
    return {key: _inline(value, parts) for key, value in schema.items()}
